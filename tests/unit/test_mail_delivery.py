"""Mails reach a real mail server: with and without TLS and login, also one that was down."""

import time
import uuid
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.mail import EmailMultiAlternatives, send_mail
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from ops import breaker, mail
from ops.breaker import Breaker
from ops.environment import Environment
from ops.models import Mail, Task
from ops.settings.mail import delivery
from ops.tasks import rows
from tests.smtp import PASSWORD, USER, hanging_server, mail_server
from tests.unit.durable import later
from tools.stackctl.commands import local_ca
from tools.stackctl.common import process
from tools.stackctl.common.console import Console

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("messages")]

LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"
Status = Task.Status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a certificate for localhost, and return its folder; ca.pem is next to it."""
    root = tmp_path_factory.mktemp("tls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "ROOT", root)
        local_ca.make(Console(as_json=True), (), force=False)
    return root / "certs" / "localhost"


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the certificate's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.parent / "ca.pem"))


@pytest.fixture(autouse=True)
def fresh_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no failures of other tests."""
    monkeypatch.setattr(breaker, "MAIL", Breaker("the mail server"))


@pytest.fixture
def use(settings: Settings) -> Callable[[str], None]:
    """Return a function that applies an EMAIL_URL."""

    def apply(url: str) -> None:
        values = delivery(Environment("production", building=False, values={"EMAIL_URL": url}))
        settings.EMAIL_BACKEND = "ops.mail.QueuedBackend"
        settings.MAIL_BACKEND = values["backend"]
        settings.EMAIL_HOST, settings.EMAIL_PORT = values["host"], values["port"]
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = values["user"], values["password"]
        settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = values["starttls"], values["tls"]
        settings.EMAIL_TIMEOUT = 2
        settings.DEFAULT_FROM_EMAIL = "Shop <shop@example.com>"

    return apply


def queued() -> Task:
    """Send a mail, and return its task."""
    send_mail("Hello", "Wörld", None, ["a@example.com"])
    return Task.objects.latest("created")


def work(row: Task) -> Task:
    """Process a message of the row, as a worker does."""
    mail.send.apply(
        rows.loads(row.args), {}, task_id=str(uuid.uuid4()), headers={rows.HEADER: str(row.pk)}
    )
    row.refresh_from_db()
    return row


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("scheme", ["smtp", "smtp+tls", "smtp+ssl"])
@pytest.mark.parametrize("login", [False, True], ids=["no login", "login"])
def test_mail_arrives_once_by_each_scheme(
    use: Callable[[str], None], certificate: Path, scheme: str, login: bool
) -> None:
    with mail_server(scheme, certificate, login=login) as (mails, port):
        use(f"{scheme}://{LOGIN if login else ''}localhost:{port}")
        row = queued()
        assert mails.messages == []

        assert work(row).status == Status.DONE
        # A message that comes twice, as after a worker's loss.
        work(row)
        mail.send(*rows.loads(row.args))

    (message,) = mails.messages
    assert (message["Subject"], message["From"]) == ("Hello", "Shop <shop@example.com>")
    assert message.get_content() == "Wörld\r\n"
    assert mails.envelopes[0].rcpt_tos == ["a@example.com"]
    assert not Mail.objects.exists()


def test_attachments_and_hidden_recipients_arrive(use: Callable[[str], None]) -> None:
    with mail_server() as (mails, port):
        use(f"smtp://localhost:{port}")
        message = EmailMultiAlternatives("Héllo", "text", to=["a@example.com"], bcc=["b@x.de"])
        message.attach_alternative("<p>pàge</p>", "text/html")
        message.attach("a.bin", bytes(range(256)), "application/octet-stream")
        message.send()
        work(Task.objects.get())

    (received,) = mails.messages
    assert mails.envelopes[0].rcpt_tos == ["a@example.com", "b@x.de"]
    assert "b@x.de" not in str(received)
    assert [part.get_content() for part in received.iter_attachments()] == [bytes(range(256))]
    html = received.get_body(("html",))
    assert isinstance(html, EmailMessage) and html.get_content().strip() == "<p>pàge</p>"


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        ("smtp+tls", "certificate verify failed"),
        ("smtp+ssl", "certificate verify failed"),
        ("smtp", "STARTTLS"),
    ],
)
def test_mail_is_not_sent_without_the_tls_that_is_required(
    use: Callable[[str], None],
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    reason: str,
) -> None:
    """An untrusted certificate, or a server that requires STARTTLS."""
    required = "smtp+tls" if scheme == "smtp" else scheme
    with mail_server(required, certificate) as (mails, port):
        use(f"{scheme}://localhost:{port}")
        row = work(queued())

    assert (row.status, mails.messages) == (Status.WAITING, [])
    assert reason in caplog.text


def test_wrong_password_is_tried_again_and_never_logged(
    use: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(login=True) as (_, port):
        use(f"smtp://someone:hunter2@localhost:{port}")
        row = work(queued())
        assert (row.status, row.attempts) == (Status.WAITING, 1)
        # It answers, so other mails are not held back.
        assert not breaker.MAIL.is_open
        use(f"smtp://{LOGIN}localhost:{port}")
        later(row, 3600)
        assert work(row).status == Status.DONE

    assert "535" in caplog.text and "hunter2" not in caplog.text


def test_hanging_mail_server_delays_no_page_and_a_worker_for_the_timeout(
    use: Callable[[str], None], client: Client, settings: Settings
) -> None:
    User.objects.create_user("someone", "someone@example.com", "secret-of-the-test")
    with hanging_server() as port:
        use(f"smtp://localhost:{port}")
        began = time.monotonic()
        answer = client.post("/accounts/password_reset/", {"email": "someone@example.com"})
        assert answer["Location"] == "/accounts/password_reset/done/"
        assert time.monotonic() - began < settings.EMAIL_TIMEOUT

        began = time.monotonic()
        row = work(Task.objects.get())
        assert settings.EMAIL_TIMEOUT <= time.monotonic() - began < settings.EMAIL_TIMEOUT + 2
        other = queued()
        began = time.monotonic()
        # Other mails wait, instead of occupying all workers.
        assert work(other).status == Status.WAITING
        assert time.monotonic() - began < settings.EMAIL_TIMEOUT

    assert row.status == Status.WAITING
    with mail_server(port=port) as (mails, _):
        breaker.MAIL.close()
        for task in (row, other):
            later(task, 3600)
            assert work(task).status == Status.DONE
    assert sorted(message["To"] for message in mails.messages) == [
        "a@example.com",
        "someone@example.com",
    ]


def test_mail_refused_for_now_arrives_after_growing_pauses(use: Callable[[str], None]) -> None:
    with mail_server() as (mails, port):
        use(f"smtp://localhost:{port}")
        mails.refusals = ["451 try again later"] * 3
        row = queued()
        identity = Mail.objects.get().message
        pauses = []
        for _ in range(3):
            before = work(row)
            pauses.append(round((before.due - rows.timezone.now()).total_seconds()))
            later(row, 3600)
        assert work(row).status == Status.DONE

    assert pauses == [10, 20, 40]
    (message,) = mails.messages
    assert message["Message-ID"] in bytes(identity).decode()


def test_mail_refused_for_good_is_tried_once_and_can_be_retried(
    use: Callable[[str], None],
) -> None:
    with mail_server() as (mails, port):
        use(f"smtp://localhost:{port}")
        mails.refusals = ["550 no such user"]
        row = work(queued())
        assert (row.status, row.attempts) == (Status.FAILED, 1)
        assert "550" in row.error

        rows.retry([row.pk])
        row.refresh_from_db()
        assert work(row).status == Status.DONE
    assert len(mails.messages) == 1


def test_refused_connection_is_tried_for_a_day(use: Callable[[str], None]) -> None:
    with hanging_server() as port:
        pass
    use(f"smtp://localhost:{port}")
    row = work(queued())

    assert row.status == Status.WAITING
    seconds = mail.FIRST_PAUSE_SECONDS * (2 ** (mail.ATTEMPTS - 1) - 1)
    assert 20 * 3600 < seconds < 28 * 3600
