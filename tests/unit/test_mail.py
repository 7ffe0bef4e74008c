"""Mails are written in the caller's transaction, and sent by a task."""

from typing import Any

import pytest
from django.core.mail import EmailMessage, send_mail
from django.db import OperationalError, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from ops import mail
from ops.models import Mail, Task
from tests.unit.durable import Message

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("messages")]


@pytest.fixture(autouse=True)
def mail_settings(settings: Settings) -> None:
    """Use the backends of a site with a mail server."""
    settings.EMAIL_BACKEND = "ops.mail.QueuedBackend"
    settings.MAIL_BACKEND = mail.SMTP
    settings.EMAIL_HOST = "smtp.example.com"


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


def test_mail_without_recipients_is_not_written() -> None:
    assert EmailMessage("Hello").send() == 0
    assert not Mail.objects.exists()


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
