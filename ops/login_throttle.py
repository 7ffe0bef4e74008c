"""The limit on sign-in attempts, for whatever view serves a login path."""

from collections.abc import Callable
from math import ceil
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from rest_framework.request import Request

from ops.errors import error
from ops.throttling import LoginThrottle


class LoginThrottleMiddleware:
    """Answer 429 to a POST to one of THROTTLE_LOGIN_PATHS from an address with too many of them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Count the attempt. Here rather than in __call__: the URL's name is known by now."""
        match = request.resolver_match
        names = {request.path_info, match.view_name if match else ""}
        if request.method != "POST" or names.isdisjoint(settings.THROTTLE_LOGIN_PATHS):
            return None
        throttle = LoginThrottle()
        if throttle.allow_request(Request(request), None):
            return None
        return too_many(request, ceil(throttle.wait()))


def too_many(request: HttpRequest, seconds: int) -> HttpResponse:
    """Return the answer 429: a page for browsers, JSON for other clients.

    Args:
        request: the attempt.
        seconds: until the next attempt is accepted.
    """
    unit = "second" if seconds == 1 else "seconds"
    detail = f"Too many attempts. Wait {seconds} {unit}, then try again."
    response = error(request, 429, detail, seconds=seconds)
    response["Retry-After"] = str(seconds)
    return response


@register("urls")
def check_login_paths(**_: Any) -> list[CheckMessage]:
    """Warn of an entry that no URL has: its login would have no limit."""
    return [
        Warning(
            f"THROTTLE_LOGIN_PATHS: no URL has the name or path {entry!r}.",
            hint="Sign-in attempts there are not limited. Correct the entry, or remove it.",
            id="ops.W001",
        )
        for entry in settings.THROTTLE_LOGIN_PATHS
        if not is_url(entry)
    ]


def is_url(entry: str) -> bool:
    """Return whether a URL has this path or name."""
    try:
        resolve(entry) if entry.startswith("/") else reverse(entry)
    except (NoReverseMatch, Resolver404):
        return False
    return True
