"""Sending errors to Sentry, or to another collector with the same protocol.

https://docs.sentry.io/platforms/python/integrations/django/
"""

from typing import Any

import structlog

from ops.logs.tokens import without_tokens

# Of a request, what may be sent. Not its body, its cookies or its query, in which secrets may be.
REQUEST_PARTS = {"method", "url"}
# The errors that these log are sent already, as exceptions.
LOGGED_TWICE = ("django_structlog.middlewares.request", "django_structlog.celery.receivers")


def report_errors(dsn: str, *, environment: str, release: str, server: str) -> None:
    """Send what goes wrong from now on, with its traceback; nothing if there is no address.

    Args:
        dsn: the collector's address, which has its key in it.
        environment: the layer, such as "production".
        release: what runs.
        server: this server's name.
    """
    if not dsn:
        return
    # Only where it is used: it takes a moment and memory.
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import ignore_logger

    for name in LOGGED_TWICE:
        ignore_logger(name)
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        server_name=server,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        auto_enabling_integrations=False,
        before_send=without_secrets,
        before_breadcrumb=without_details,
        send_default_pii=False,
        max_request_body_size="never",
        # Passwords and keys are in variables, too.
        include_local_variables=False,
        auto_session_tracking=False,
        send_client_reports=False,
    )


def without_secrets(event: Any, hint: Any) -> Any:
    """Return the event with little of its request, and with the request's id."""
    if request := event.pop("request", None):
        event["request"] = {
            name: without_tokens(request[name]) for name in REQUEST_PARTS & request.keys()
        }
    event.pop("user", None)
    # A job's arguments.
    event.get("extra", {}).pop("celery-job", None)
    if request_id := structlog.contextvars.get_contextvars().get("request_id"):
        event.setdefault("tags", {})["request_id"] = request_id
    return event


def without_details(crumb: Any, hint: Any) -> Any:
    """Return a breadcrumb without its data, such as requested URLs."""
    crumb.pop("data", None)
    return crumb
