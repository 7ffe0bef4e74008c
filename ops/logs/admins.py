"""Mails to ADMINS about errors of pages.

Django's own handler sends each error, with all settings and the request's cookies.
"""

import logging
import time

from django.core.mail import mail_admins

from ops.logs.tokens import without_tokens

# An outage causes thousands of errors; the log has them all.
PAUSE_SECONDS = 60


class AdminHandler(logging.Handler):
    """Mails an error with its traceback, one a minute and process at most."""

    def __init__(self) -> None:
        """Send errors alone."""
        super().__init__(logging.ERROR)
        self.next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, if it is time; 503 is the database's outage, which no code causes."""
        now = time.monotonic()
        if now < self.next or getattr(record, "status_code", None) == 503:
            return
        self.next = now + PAUSE_SECONDS
        try:
            subject = without_tokens(record.getMessage().partition("\n")[0])
            mail_admins(subject[:200], self.format(record), fail_silently=True)
        except Exception:
            self.handleError(record)
