"""Answering a scrape: in a server by way of nginx and Django, in a worker by a thread."""

import logging
from collections.abc import Callable

from celery import signals
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound
from prometheus_client import start_http_server
from prometheus_client.core import InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from ops import registry as added
from ops.metrics import PATH, PORT, jobs, processes, uwsgi
from ops.profile import active_profile

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class Release(Collector):
    """Which release runs, and with what: to be joined with the other metrics."""

    names = ("settings", "server", "release", "django", "python")

    def collect(self) -> list[InfoMetricFamily]:
        """Return the metric."""
        profile = active_profile()
        labels = {name: str(profile[name]) for name in self.names}
        return [InfoMetricFamily("mysite", "What runs here.", labels)]


class MetricsMiddleware:
    """Answer /metrics on its own port, and only there; before Host or https is checked.

    nginx forwards it from that port only. Were another path to this place to open one day, by a
    proxy that forwards everything, it would still find nothing.
    """

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a scrape, or pass the request on."""
        if request.path != PATH:
            return self.get_response(request)
        # nginx's word, which no header of a client changes.
        if request.META.get("SERVER_PORT") != str(PORT) or not processes.folder():
            return HttpResponseNotFound("There is nothing here.\n", content_type="text/plain")
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        text = generate_latest(server_registry())
        return HttpResponse(
            text,
            content_type=CONTENT_TYPE_PLAIN_0_0_4,
            headers={"Cache-Control": "no-store"},
        )


def server_registry() -> CollectorRegistry:
    """Return a server's metrics."""
    registry = processes.registry()
    registry.register(uwsgi.UwsgiWorkers())
    registry.register(Release())
    return registry


def worker_registry() -> CollectorRegistry:
    """Return a worker's metrics."""
    registry = processes.registry()
    collectors: list[Collector] = [jobs.Queue(), Release(), *added.worker_metrics]
    for collector in collectors:
        registry.register(collector)
    return registry


@signals.worker_ready.connect
def serve(**kwargs: object) -> None:
    """Answer scrapes of this worker, on every address of its container; none of a laptop's."""
    if not processes.folder():
        return
    start_http_server(PORT, registry=worker_registry())
    logger.info("metrics of %s are on port %d", settings.PROFILE, PORT)
