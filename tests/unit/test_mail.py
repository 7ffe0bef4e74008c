"""Mails are written in the caller's transaction, and sent by a task."""

import logging
import smtplib
import sys
import time
from email import message_from_bytes, policy
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import mail as outbox
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from ops import mail
from ops.logs import admins
from ops.logs.admins import AdminHandler
from ops.models import Mail, Task
from ops.settings.logs import logging_config
from ops.tasks import rows
from tests.unit.durable import Message

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("messages")]


@pytest.fixture(autouse=True)
def mail_settings(settings: Settings) -> None:
    """Use the backends of a site with a mail server."""
    settings.EMAIL_BACKEND = "ops.mail.QueuedBackend"
    settings.MAIL_BACKEND = mail.SMTP
    settings.EMAIL_HOST = "smtp.example.com"
    settings.SHOW_MAILS = False


def test_mail_is_written_with_its_task_and_sent_after_the_commit(
    messages: list[Message], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert send_mail("Héllo", "Wörld", None, ["a@example.com", "b@example.com"]) == 1
        assert messages == []

    row = Mail.objects.get()
    assert row.recipients == ["a@example.com", "b@example.com"]
    assert b"Subject: =?utf-8?" in bytes(row.message)
    assert [(name, args) for name, args, _, _ in messages] == [("ops.mail.send", [row.pk])]


@pytest.mark.django_db(transaction=True)
def test_mail_of_a_rolled_back_transaction_is_not_sent(messages: list[Message]) -> None:
    with pytest.raises(OSError), transaction.atomic():
        send_mail("Hello", "", None, ["a@example.com"])
        raise OSError
    assert (Mail.objects.count(), Task.objects.count(), messages) == (0, 0, [])


def test_mail_without_a_task_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would send it."""

    def fail(*_: Any) -> None:
        raise OperationalError("the database is down")

    monkeypatch.setattr(rows, "add", fail)

    with pytest.raises(OperationalError):
        send_mail("Hello", "text", None, ["a@example.com"])
    assert not Mail.objects.exists()


def test_mail_without_recipients_is_not_written() -> None:
    assert EmailMessage("Hello").send() == 0
    messages = [EmailMessage("Hello"), EmailMessage("Hello", to=["a@example.com"])]
    assert outbox.get_connection().send_messages(messages) == 1
    assert Mail.objects.get().recipients == ["a@example.com"]


@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
def test_mail_is_written_for_every_kind_of_recipient(field: str) -> None:
    assert EmailMessage("Hello", **{field: ["a@example.com"]}).send() == 1

    assert Mail.objects.get().recipients == ["a@example.com"]


@pytest.mark.parametrize("silent", [True, False])
def test_site_without_a_mail_server_refuses_mails(settings: Settings, silent: bool) -> None:
    settings.EMAIL_HOST = ""
    assert not mail.is_sent()
    if silent:
        assert send_mail("Hello", "", None, ["a@example.com"], fail_silently=True) == 0
    else:
        with pytest.raises(mail.NoMailServerError, match="EMAIL_URL is not set"):
            send_mail("Hello", "", None, ["a@example.com"])
    assert not Mail.objects.exists()


@pytest.mark.parametrize("silent", [True, False])
def test_mail_during_a_database_outage_raises_unless_silent(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    def down(**_: Any) -> None:
        raise OperationalError("the database is down")

    monkeypatch.setattr(Mail.objects, "create", down)
    if silent:
        assert send_mail("Hello", "", None, ["a@example.com"], fail_silently=True) == 0
    else:
        with pytest.raises(OperationalError):
            send_mail("Hello", "", None, ["a@example.com"])


def test_own_backend_of_a_project_counts_as_a_mail_server(settings: Settings) -> None:
    settings.EMAIL_HOST = ""
    settings.EMAIL_BACKEND = "anymail.backends.mailgun.EmailBackend"
    assert mail.is_sent()


def test_mails_of_failed_tasks_are_deleted_with_them() -> None:
    send_mail("Hello", "", None, ["a@example.com"])
    send_mail("Hello", "", None, ["b@example.com"])
    old = Mail.objects.order_by("pk").first()
    assert old
    Mail.objects.filter(pk=old.pk).update(created=timezone.now() - mail.KEEP)

    assert mail.forget_old() == 1
    assert Mail.objects.get().recipients == ["b@example.com"]


def log_error(handler: AdminHandler, text: str, **more: object) -> None:
    """Log an error with a traceback."""
    try:
        raise KeyError("of the test")
    except KeyError:
        record = logging.LogRecord("django.request", 40, "", 0, text, (), sys.exc_info())
    vars(record).update(more)
    handler.handle(record)


def test_error_is_mailed_to_admins_once_a_minute(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the database's outage, and no token, variable or setting."""
    settings.ADMINS = [("a@example.com", "a@example.com")]
    config = logging_config(level="INFO", json=True, mail_admins=True)
    assert config["loggers"]["django"]["handlers"] == ["admins"]
    text = config["formatters"]["text"]
    handler = AdminHandler()
    handler.setFormatter(text.pop("()")(**text))
    token = "cq8o2z-" + "0123456789abcdef" * 2

    now = time.monotonic()
    monkeypatch.setattr(admins, "time", SimpleNamespace(monotonic=lambda: now))
    log_error(handler, "Service Unavailable: /", status_code=503)
    assert not Mail.objects.exists()
    for number in range(3):
        log_error(handler, f"Internal Server Error: /reset/MQ/{token}/\n{number}")
    row = Mail.objects.get()
    assert row.recipients == ["a@example.com"]
    message = message_from_bytes(bytes(row.message), policy=policy.default)
    assert message["Subject"].endswith("Internal Server Error: /reset/MQ/***/")
    assert 'raise KeyError("of the test")' in message.get_content()
    assert token not in str(message) and "locals" not in str(message)

    for later, count in ((59, 1), (61, 2), (119, 2)):
        monkeypatch.setattr(admins, "time", SimpleNamespace(monotonic=lambda now=now + later: now))
        log_error(handler, "later")
        assert Mail.objects.count() == count


def test_only_errors_are_mailed_to_admins_with_a_short_subject(settings: Settings) -> None:
    settings.ADMINS = [("A", "a@example.com")]
    logger = logging.Logger("of the test")
    logger.addHandler(AdminHandler())

    logger.warning("x")
    assert not Mail.objects.exists()

    logger.error("x" * 999)
    message = message_from_bytes(bytes(Mail.objects.get().message), policy=policy.default)
    assert message["Subject"].count("x") == 200


@pytest.mark.parametrize(
    ("shown", "debug", "status"), [(True, True, 200), (True, False, 404), (False, True, 404)]
)
def test_page_shows_mails_in_the_local_layer_only(
    client: Client, settings: Settings, shown: bool, debug: bool, status: int
) -> None:
    settings.SHOW_MAILS, settings.DEBUG = shown, debug
    settings.MAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    message = EmailMultiAlternatives("<Héllo>", "See http://testserver/a/", to=["a@example.com"])
    message.attach("a.bin", b"1", "application/octet-stream")
    message.send()
    mail.send(Mail.objects.get().pk)

    answer = client.get("/status/mails/")
    assert answer.status_code == status
    assert Mail.objects.exists() is shown
    assert len(outbox.outbox) == 1
    if status == 200:
        page = answer.content.decode()
        assert "&lt;Héllo&gt;" in page and "a.bin" in page and "a@example.com" in page
        assert '<a href="http://testserver/a/"' in page
        assert answer["Cache-Control"].startswith("max-age=0")
    assert ("/status/mails/" in client.get("/status/").content.decode()) is (shown and debug)


@pytest.mark.parametrize(
    ("codes", "final"),
    [([500], True), ([550, 553], True), ([450], False), ([550, 451], False), ([499], False)],
)
def test_mail_is_given_up_only_when_every_recipient_is_refused_for_good(
    codes: list[int], final: bool
) -> None:
    refused = {f"{code}@example.com": (code, b"no") for code in codes}

    assert mail.is_final(smtplib.SMTPRecipientsRefused(refused)) is final
    if len(codes) == 1:
        assert mail.is_final(smtplib.SMTPDataError(codes[0], b"no")) is final


def test_mail_that_is_kept_to_be_shown_is_sent_once(settings: Settings) -> None:
    """The worker was lost after it had sent it."""
    settings.SHOW_MAILS = True
    settings.MAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    send_mail("Hello", "text", None, ["a@example.com"])
    row = Mail.objects.get()

    for _ in range(2):
        mail.send(row.pk)

    assert len(outbox.outbox) == 1 and Mail.objects.get().sent is not None
