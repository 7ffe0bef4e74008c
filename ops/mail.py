"""Mails that are not lost: written with the caller's data, sent by a worker.

No package does that within a transaction: django-celery-email sends through the broker, and
django-mailer and django-post-office have queues of their own, where ops.tasks has one.
"""

import smtplib
from collections.abc import Sequence
from email.message import Message
from typing import Any

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError, transaction
from django.utils import timezone

from ops import breaker
from ops.database import rounds
from ops.models import Mail
from ops.settings.mail import SMTP
from ops.tasks import DurableTask, rows

# With the pauses of `send`, a mail server may be down for a day.
ATTEMPTS = 14
FIRST_PAUSE_SECONDS = 10
# A server that answers slowly, byte by byte, is cut off then.
SECONDS = 60
# A server that answers so is up.
ANSWERS = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)
# As long as its failed task, which staff can retry.
KEEP = rows.KEEP_FAILED


class NoMailServerError(Exception):
    """The site sends no mail."""


class MailRefusedError(Exception):
    """The mail server has refused a mail for good."""


def is_sent() -> bool:
    """Return whether this site sends mails."""
    if settings.EMAIL_BACKEND != "ops.mail.QueuedBackend":
        return True
    return settings.MAIL_BACKEND != SMTP or bool(settings.EMAIL_HOST)


class QueuedBackend(BaseEmailBackend):
    """Writes mails to the database in the caller's transaction; a worker sends them.

    https://docs.djangoproject.com/en/5.2/topics/email/#defining-a-custom-email-backend
    """

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the mails; return how many.

        Raises:
            NoMailServerError: no mail server is set.
            django.db.Error: the database is down.
        """
        if not is_sent():
            if self.fail_silently:
                return 0
            raise NoMailServerError(
                "This site sends no mail: EMAIL_URL is not set. Set it in .env (docs/email.md)."
            )
        try:
            return sum(queue(message) for message in email_messages if message.recipients())
        except DatabaseError:
            if not self.fail_silently:
                raise
            return 0


def queue(message: EmailMessage) -> int:
    """Write one mail and the task that sends it; return 1."""
    # Written now, so that each attempt has the same Message-ID: receivers drop the second copy.
    raw = message.message().as_bytes(linesep="\r\n")
    with transaction.atomic():
        mail = Mail.objects.create(
            sender=message.from_email, recipients=message.recipients(), message=raw
        )
        send.delay(mail.pk)
    return 1


class StoredMessage(EmailMessage):
    """A mail whose text is already written."""

    def __init__(self, mail: Mail) -> None:
        """Keep what a mail server needs."""
        super().__init__(from_email=mail.sender, to=mail.recipients)
        self.raw = bytes(mail.message)

    def message(self, **options: Any) -> Any:
        """Return the text."""
        return _Text(self.raw)


class _Text(Message):
    """What Django's backends use of a message."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw

    def as_bytes(self, *args: Any, **options: Any) -> bytes:
        return self.raw


@shared_task(
    base=DurableTask,
    name="ops.mail.send",
    max_attempts=ATTEMPTS,
    first_pause_seconds=FIRST_PAUSE_SECONDS,
    final_exceptions=(MailRefusedError,),
    soft_time_limit=SECONDS,
    time_limit=SECONDS + 5,
)
def send(key: int) -> None:
    """Send a mail, and delete it.

    Args:
        key: of its row. One that is deleted has been sent.

    Raises:
        MailRefusedError: no other attempt would change the answer.
        OSError: the mail server is down or hangs, also of smtplib; another attempt follows.
    """
    mail = Mail.objects.filter(pk=key, sent=None).first()
    if mail is None:
        return
    connection = get_connection(settings.MAIL_BACKEND)
    try:
        # While the server hangs, one process at a time waits for it.
        with breaker.MAIL.call(OSError, but=ANSWERS):
            connection.send_messages([StoredMessage(mail)])
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
        if is_final(error):
            raise MailRefusedError(str(error)) from error
        raise
    if settings.SHOW_MAILS:
        Mail.objects.filter(pk=key).update(sent=timezone.now())
    else:
        mail.delete()


def is_final(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> bool:
    """Return whether the server refused a mail with a code from 500 on: not for now, for good."""
    if isinstance(error, smtplib.SMTPDataError):
        return error.smtp_code >= 500
    return all(code >= 500 for code, _ in error.recipients.values())


def forget_old() -> int:
    """Delete mails that could not be sent, and those kept to be shown; return how many."""
    return rounds.delete(Mail.objects.filter(created__lt=timezone.now() - KEEP))
