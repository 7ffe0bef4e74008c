"""Metrics of uWSGI: its workers and the queue before them.

https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ops.metrics import backlog

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1
STATES = ("busy", "idle", "other")


class UwsgiWorkers:
    """uWSGI's own numbers, from its stats socket; nothing where it has none (`make run`)."""

    def collect(self) -> Iterator[Metric]:
        """Ask uWSGI's master."""
        options = uwsgi_options()
        if "stats" not in options:
            return
        try:
            stats = ask(options["stats"])
        except (OSError, ValueError) as error:
            logger.warning("cannot read uWSGI's metrics: %s", error)
            return
        yield self.states(stats["workers"])
        yield from self.counters(stats["workers"])
        if path := socket_path():
            yield from self.queue(path)

    def states(self, workers: list[dict[str, Any]]) -> Metric:
        """Count the workers by state; the one that answers this scrape counts as idle."""
        family = GaugeMetricFamily("uwsgi_workers", "Workers by state.", labels=["state"])
        counts = dict.fromkeys(STATES, 0)
        for worker in workers:
            state = "idle" if worker["id"] == own_id() else worker["status"]
            counts[state if state in STATES else "other"] += 1
        for state, count in counts.items():
            family.add_metric([state], count)
        return family

    def counters(self, workers: list[dict[str, Any]]) -> Iterator[Metric]:
        """Return the counters of each worker, its earlier processes included."""
        for name, help_text, key in (
            ("requests", "Requests accepted, probes and scrapes included.", "requests"),
            (
                "harakiri",
                "Requests that exceeded the time limit; their worker was restarted.",
                "harakiri_count",
            ),
            ("exceptions", "Requests that ended with an exception outside Django.", "exceptions"),
            ("spawns", "Processes started for this worker.", "respawn_count"),
        ):
            counter = CounterMetricFamily(f"uwsgi_worker_{name}", help_text, labels=["worker"])
            for worker in workers:
                counter.add_metric([str(worker["id"])], worker[key])
            yield counter
        memory = GaugeMetricFamily(
            "uwsgi_worker_resident_memory_bytes", "Memory of the process.", labels=["worker"]
        )
        for worker in workers:
            memory.add_metric([str(worker["id"])], worker["rss"])
        yield memory

    def queue(self, path: str) -> Iterator[Metric]:
        """Return how many requests wait for a worker. uWSGI reports it for TCP sockets only."""
        queue = backlog.queue_length(path)
        if queue is None:
            return
        waiting, limit = queue
        yield GaugeMetricFamily("uwsgi_listen_queue", "Requests that wait for a worker.", waiting)
        yield GaugeMetricFamily("uwsgi_listen_queue_limit", "How many requests can wait.", limit)


def socket_path() -> str:
    """Return the path of the unix socket that this uWSGI listens on; empty where it has none.

    It was handed over open, so no option names it.
    """
    module = sys.modules.get("uwsgi")
    for descriptor in getattr(module, "sockets", ()):
        with socket.socket(fileno=os.dup(descriptor)) as opened:
            name = opened.getsockname()
        if isinstance(name, str):
            return name
    return ""


def uwsgi_options() -> dict[str, str]:
    """Return the options of the uWSGI that runs this, without those given several times."""
    module = sys.modules.get("uwsgi")
    if module is None:
        return {}
    return {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in module.opt.items()
        if not isinstance(value, list)
    }


def own_id() -> int:
    """Return the number of the worker that this is."""
    return int(sys.modules["uwsgi"].worker_id())


def ask(path: str) -> dict[str, Any]:
    """Return what uWSGI's stats socket says.

    Raises:
        OSError: it does not answer within TIMEOUT_SECONDS.
        ValueError: it says no JSON.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(path)
        with connection.makefile("rb") as answer:
            stats: dict[str, Any] = json.loads(answer.read())
            return stats
