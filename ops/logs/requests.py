"""What the log line of a request says beyond django-structlog's own.

https://django-structlog.readthedocs.io/en/latest/events.html
"""

from typing import Any

import structlog
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty
from django_structlog import signals


@receiver(signals.bind_extra_request_metadata)
def add_client(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Add the client's address as nginx passes it on; the request's headers are not used.

    Neither is the query string logged: a token may be in it.
    """
    structlog.contextvars.bind_contextvars(client=request.META["REMOTE_ADDR"])
    log_kwargs["request"] = f"{request.method} {request.path}"


@receiver(signals.bind_extra_request_finished_metadata)
def add_user(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Add the user, if the view has loaded it.

    Loading it for the log alone would be a query, and an error in place of the response while
    the database is down.
    """
    log_kwargs["request"] = f"{request.method} {request.path}"
    user = getattr(request, "user", None)
    loaded = not (isinstance(user, LazyObject) and user._wrapped is empty)
    if user is not None and loaded:
        log_kwargs["user_id"] = user.pk


@receiver(signals.bind_extra_request_failed_metadata)
def hide_query(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Leave the query string out of an error's line as well."""
    log_kwargs["request"] = f"{request.method} {request.path}"
