"""The log line of a request: django-structlog's, without the query, in one step.

A request that nginx logs as well has one only if it says more than nginx's line.
https://django-structlog.readthedocs.io/en/latest/events.html
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import LazyObject, empty
from django_structlog import signals
from django_structlog.app_settings import app_settings
from django_structlog.middlewares import RequestMiddleware
from django_structlog.middlewares.request import (
    async_streaming_content_wrapper,
    logger,
    sync_streaming_content_wrapper,
)

from ops.logs.lines import SHARED_PROCESSORS

LOG = logging.getLogger("django_structlog.middlewares.request")
# In the environ or scope of a request: whether nginx logs it.
NGINX_LOGS = "ops.nginx_logs"
# A response's header for nginx's line, which nginx removes (nginx/forward.conf).
USER_HEADER = "Nginx-User-Id"
# What nginx's line has of a request's context.
NGINX_CONTEXT = {"request_id", "client"}


class LogRequests(RequestMiddleware):
    """Log each request once it has its response; all lines until then have its id.

    The lines are django-structlog's. Its own middleware takes three times as long.
    """

    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the rest of the chain, and the levels."""
        super().__init__(get_response)
        self.start_level = app_settings.STATUS_START_LOG_LEVEL
        self.level = cache(self._log_level_for_status_code)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and log it."""
        self.prepare(request)
        response: HttpResponseBase = self.get_response(request)
        self.handle_response(request, response)
        return response

    def prepare(self, request: HttpRequest) -> None:
        """Bind the id and the client's address as nginx passes both on."""
        structlog.contextvars.bind_contextvars(
            request_id=request.META.get("HTTP_X_REQUEST_ID") or str(uuid4()),
            client=request.META["REMOTE_ADDR"],
        )
        fields: dict[str, Any] = {}
        self.send(signals.bind_extra_request_metadata, request, fields)
        if LOG.isEnabledFor(self.start_level):
            fields |= {
                "request": self.format_request(request),
                "user_agent": request.META.get("HTTP_USER_AGENT"),
            }
            logger.log(self.start_level, "request_started", **fields)

    def handle_response(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Log the response, unless it is to an exception, which is logged already."""
        user_at_nginx = is_logged_by_nginx(request) and pass_user_to_nginx(request, response)
        if hasattr(request, "_raised_exception"):
            super().handle_response(request, response)
            return
        level = self.level(response.status_code)
        if LOG.isEnabledFor(level) and not (user_at_nginx and is_ordinary(level)):
            self.log(level, request, response)
        if response.streaming:
            log_stream(response)
        structlog.contextvars.clear_contextvars()

    def log(self, level: int, request: HttpRequest, response: HttpResponseBase) -> None:
        """Write the line past structlog's logger, which would search the stack for its caller.

        Args:
            level: a level of the logging module, such as logging.INFO.
            request: the request.
            response: the response to it.
        """
        fields: Any = {
            "code": response.status_code,
            "request": self.format_request(request),
            **user_of(request),
            "event": "request_finished",
        }
        self.send(signals.bind_extra_request_finished_metadata, request, fields, response=response)
        name = logging.getLevelName(level).lower()
        for add in SHARED_PROCESSORS:
            fields = add(LOG, name, fields)
        extra = {"_logger": LOG, "_name": name}
        LOG.handle(LOG.makeRecord(LOG.name, level, __file__, 0, fields, (), None, None, extra))

    def send(self, signal: Any, request: HttpRequest, fields: dict[str, Any], **more: Any) -> None:
        """Let a project add fields, as django-structlog does."""
        signal.send(self.__class__, request=request, logger=logger, log_kwargs=fields, **more)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return what is asked for without the query: a token may be in it."""
        return f"{request.method} {request.path}"


def is_logged_by_nginx(request: HttpRequest) -> bool:
    """Return whether nginx has a line of a request."""
    return bool(getattr(request, "scope", request.META).get(NGINX_LOGS))


def pass_user_to_nginx(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Give nginx the user for its line, and return whether it has one or there is none."""
    user = user_of(request).get("user_id")
    if user is None:
        return True
    text = str(user)
    # A key of another kind is no header.
    if not (text.isascii() and text.isprintable()):
        return False
    response.headers[USER_HEADER] = text
    return True


def is_ordinary(level: int) -> bool:
    """Return whether the line of a response would say what nginx's says, and no more."""
    return (
        level <= logging.INFO
        and not settings.DEBUG
        and not LOG.isEnabledFor(logging.DEBUG)
        # A project's own fields.
        and not signals.bind_extra_request_finished_metadata.has_listeners(LogRequests)
        and structlog.contextvars.get_contextvars().keys() == NGINX_CONTEXT
    )


def user_of(request: HttpRequest) -> dict[str, Any]:
    """Return the user as a field, if the view has loaded it.

    Loading it for the log alone would be a query, and an error in place of the response while
    the database is down.
    """
    user = getattr(request, "user", None)
    if user is None or (isinstance(user, LazyObject) and user._wrapped is empty):
        return {}
    return {"user_id": user.pk}


def log_stream(response: Any) -> None:
    """Log the end of the response's content with the request's id."""
    wrap = async_streaming_content_wrapper if response.is_async else sync_streaming_content_wrapper
    context = structlog.contextvars.get_contextvars()
    response.streaming_content = wrap(response.streaming_content, context)


def complete_lines() -> None:
    """Make the lines of django-structlog's own middleware the same, where MIDDLEWARE has it."""
    if "django_structlog.middlewares.RequestMiddleware" not in settings.MIDDLEWARE:
        return
    signals.bind_extra_request_metadata.connect(_add_client)
    signals.bind_extra_request_finished_metadata.connect(_add_user)
    signals.bind_extra_request_failed_metadata.connect(_hide_query)


def _add_client(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    structlog.contextvars.bind_contextvars(client=request.META["REMOTE_ADDR"])
    _hide_query(request, log_kwargs)


def _add_user(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    log_kwargs |= user_of(request)
    _hide_query(request, log_kwargs)


def _hide_query(request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    log_kwargs["request"] = LogRequests.format_request(request)
