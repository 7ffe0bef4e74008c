"""Metrics of uWSGI: its workers and the queue before them.

https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from ops.metrics import backlog, processes

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1
STATES = ("busy", "idle", "other")


@dataclass(frozen=True, slots=True)
class Pool:
    """The workers of one uWSGI, as its stats socket reports them."""

    # Empty, or `slow` for the workers of SLOW_PATHS.
    name: str
    workers: list[dict[str, Any]]
    # The path of the unix socket that they listen on; empty where they have none.
    socket: str

    @property
    def labels(self) -> dict[str, str]:
        """Return what tells its metrics from those of the other pool."""
        return {"pool": self.name} if self.name else {}


class UwsgiWorkers:
    """uWSGI's own numbers, from its stats socket; nothing where it has none (`make run`)."""

    def collect(self) -> Iterator[Metric]:
        """Ask uWSGI's master, and that of the slow workers if there are any."""
        pools = list(answering_pools())
        if not pools:
            return
        yield self.states(pools)
        yield from self.counters(pools)
        yield from self.queues(pools)

    def states(self, pools: list[Pool]) -> Metric:
        """Count the workers by state; the one that answers this scrape counts as idle."""
        family = Metric("uwsgi_workers", "Workers by state.", "gauge")
        for pool in pools:
            counts = dict.fromkeys(STATES, 0)
            for worker in pool.workers:
                # A scrape never goes to the slow workers.
                is_own = not pool.name and worker["id"] == own_id()
                state = "idle" if is_own else worker["status"]
                counts[state if state in STATES else "other"] += 1
            for state, count in counts.items():
                family.add_sample(family.name, {"state": state, **pool.labels}, count)
        return family

    def counters(self, pools: list[Pool]) -> Iterator[Metric]:
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
            counter = Metric(f"uwsgi_worker_{name}", help_text, "counter")
            self.add(counter, f"{counter.name}_total", key, pools)
            yield counter
        memory = Metric("uwsgi_worker_resident_memory_bytes", "Memory of the process.", "gauge")
        self.add(memory, memory.name, "rss", pools)
        yield memory

    def add(self, family: Metric, name: str, key: str, pools: list[Pool]) -> None:
        """Add one number of each worker to a metric."""
        for pool in pools:
            for worker in pool.workers:
                labels = {"worker": str(worker["id"]), **pool.labels}
                family.add_sample(name, labels, worker[key])

    def queues(self, pools: list[Pool]) -> Iterator[Metric]:
        """Return how many requests wait for a worker. uWSGI reports it for TCP sockets only."""
        waiting = Metric("uwsgi_listen_queue", "Requests that wait for a worker.", "gauge")
        limit = Metric("uwsgi_listen_queue_limit", "How many requests can wait.", "gauge")
        for pool in pools:
            if queue := backlog.queue_length(pool.socket) if pool.socket else None:
                waiting.add_sample(waiting.name, pool.labels, queue[0])
                limit.add_sample(limit.name, pool.labels, queue[1])
        yield from (family for family in (waiting, limit) if family.samples)


def answering_pools() -> Iterator[Pool]:
    """Yield the pools of this server whose uWSGI answers."""
    stats = uwsgi_options().get("stats")
    if stats is None:
        return
    # Next to it; uwsgi/start and supervisor/programs name the files.
    slow = Path(stats).with_name("slow-stats.sock")
    pools = [("", stats, socket_path())]
    if slow.exists():
        pools.append((processes.SLOW_POOL, str(slow), str(slow.with_name("slow.sock"))))
    for name, path, listens in pools:
        try:
            yield Pool(name, ask(path)["workers"], listens)
        except (OSError, ValueError) as error:
            logger.warning("cannot read uWSGI's metrics: %s", error)


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
