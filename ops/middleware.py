"""What runs before and around the views: the probes, and the answer to a database outage."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from ops import errors
from ops.database.outage import is_outage
from ops.streams import in_pieces  # remove_asgi

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ProbeMiddleware:
    """Answer /livez and /readyz before anything else can refuse or redirect the request.

    Load balancers send their own idea of a Host header and use plain http, so neither
    ALLOWED_HOSTS nor the redirect to https may refuse it. Neither probe queries the database:
    its outage would take every server out of service at once.
    """

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response
        self.probes = {"/livez": self.livez, "/readyz": self.readyz}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a probe, or pass the request on."""
        probe = self.probes.get(request.path)
        if probe is None:
            # Here, as every project has this class around all others.
            return in_pieces(request, self.get_response(request))
        response = probe()
        response["Cache-Control"] = "no-store"
        return response

    def livez(self) -> HttpResponse:
        """Say that the process answers."""
        return HttpResponse("alive\n", content_type="text/plain")

    def readyz(self) -> HttpResponse:
        """Say whether new requests are welcome: 200, or 404 while draining.

        404 is what HAProxy's `http-check disable-on-404` takes for "finish what you have".
        https://docs.haproxy.org/3.0/configuration.html#4.2-http-check%20disable-on-404
        """
        if settings.DRAIN_FILE.exists():
            return HttpResponse("draining\n", content_type="text/plain", status=404)
        return HttpResponse("ready\n", content_type="text/plain")


class DatabaseOutageMiddleware:
    """Answer 503 with Retry-After when the database is down, rather than 500 with a traceback."""

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Turn an outage into an answer; leave every other error to Django."""
        if not (isinstance(error, DatabaseError) and is_outage(error)):
            return None
        logger.error("database unavailable: %s", error)
        return errors.database_unavailable(request)
