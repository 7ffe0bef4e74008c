"""What is counted of requests: how many, how long, and which mistakes came up."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from prometheus_client import Counter, Histogram

from ops.metrics import processes  # first: it says where metrics are kept

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER = "other"

REQUESTS = Counter(
    "django_http_requests",
    "Requests answered, without probes and scrapes.",
    ["view", "method", "status"],
)
DURATION = Histogram(
    "django_http_request_duration_seconds",
    "Seconds from a request's arrival in Django to its response.",
    ["view", "method"],
    buckets=processes.buckets(settings.REQUEST_SECONDS),
)
EXCEPTIONS = Counter(
    "django_http_exceptions", "Exceptions that became a 500 response.", ["view", "type"]
)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class CountRequests:
    """Count each request that comes this far, whatever becomes of it.

    No label contains a client's text, so clients cannot add series without limit.
    """

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and count."""
        begun = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - begun
        observe, add = series_of(view_of(request), method_of(request), response.status_code)
        observe(seconds)
        add()
        return response


@cache
def series_of(
    view: str, method: str, status: int
) -> tuple[Callable[[float], None], Callable[[], None]]:
    """Return the counters of a view, a method and an HTTP status.

    It is cached: to look them up by their labels takes as long as to count.
    """
    return DURATION.labels(view, method).observe, REQUESTS.labels(view, method, status).inc


@receiver(got_request_exception)
def count_exception(request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Count a mistake; its traceback is in the log."""
    import sys

    kind = sys.exc_info()[0]
    EXCEPTIONS.labels(view_of(request), kind.__name__ if kind else OTHER).inc()


def view_of(request: HttpRequest | None) -> str:
    """Return the name of what answers: the URL's name, or its namespace, such as "admin"."""
    match = getattr(request, "resolver_match", None)
    if match is None:
        return "none"
    return str(match.namespaces[0] if match.namespaces else match.url_name or match._func_path)


def method_of(request: HttpRequest) -> str:
    """Return the method, if it is one that there is."""
    return request.method if request.method in METHODS else OTHER
