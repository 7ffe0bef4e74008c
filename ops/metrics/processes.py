"""Counting in several processes: each writes to files of its own, and a scrape adds them up.

The files are named by a process's place (uWSGI's worker 2, the Celery pool's child 1) rather than
by its number: a fresh process in that place counts on in the same files. So nothing is lost when
workers are replaced, and nothing piles up.
https://prometheus.github.io/client_python/multiprocess/
"""

import os
import sys
from pathlib import Path

from celery.utils.log import current_process_index
from prometheus_client import values
from prometheus_client.registry import CollectorRegistry

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
STEPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
LONG_STEPS = (500, 1000, 2500, 5000, 10_000, 25_000, 50_000)


# The workers of SLOW_PATHS have files of their own: a server has at most 64 workers.
SLOW_POOL = "slow"
_FIRST = 100 if os.environ.get("APP_POOL") == SLOW_POOL else 0

# gunicorn's worker 2 and similar: those know their number only from the process that started them.
_number = 0


def take_place(number: int) -> None:
    """Set this process's number, from 1, where its server offers no way to query it."""
    global _number
    _number = number


def place() -> int:
    """Return this process's place among those of its server; 0 for the one that started them.

    In the pool of SLOW_PATHS both begin at 100.
    """
    if _number:
        return _FIRST + _number
    # uWSGI makes the module; elsewhere there is none.
    if uwsgi := sys.modules.get("uwsgi"):
        return _FIRST + int(uwsgi.worker_id())
    return _FIRST + (current_process_index() or 0)


def folder() -> str:
    """Return where the files are; empty where nothing is served and each process counts alone."""
    return os.environ.get(VARIABLE, "")


def buckets(longest_seconds: int) -> tuple[float, ...]:
    """Return the upper bounds of a histogram's buckets, in seconds, up to `longest_seconds`."""
    return (*(step for step in STEPS + LONG_STEPS if step < longest_seconds), longest_seconds)


def use_places() -> None:
    """Count in files by place; before the first metric is made."""
    if folder():
        Path(folder()).mkdir(parents=True, exist_ok=True)
        values.ValueClass = values.MultiProcessValue(place)


def registry() -> CollectorRegistry:
    """Return a registry that adds up the processes' files; further collectors may join it."""
    from prometheus_client.multiprocess import MultiProcessCollector

    result = CollectorRegistry(support_collectors_without_names=True)
    MultiProcessCollector(result, folder())
    return result


use_places()
