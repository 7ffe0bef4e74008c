"""Pages of an ASGI server whose thread hangs: a worker that has many of them ends, for a fresh one.

Nothing can end a thread. Each keeps its connection to the database, which has only so many.
"""

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

from ops.logs.tokens import without_tokens

logger = logging.getLogger(__name__)

# By then nginx has answered 504 (nginx/limits.sh).
LATE_SECONDS = 10
# Of one worker.
LIMIT = 8
# While another worker of the server ends.
RETRY_SECONDS = 1.0

_pages: set[object] = set()
_is_ending = False


@contextmanager
def watched(path: str, has_begun: Callable[[], bool]) -> Iterator[None]:
    """Count a page that hangs.

    Args:
        path: the page's, for the log.
        has_begun: whether the page has an answer; a response may then take longer.
    """
    page = object()

    def check() -> None:
        if has_begun():
            return
        _pages.add(page)
        seconds = settings.REQUEST_SECONDS + LATE_SECONDS
        logger.error("%s hangs: no answer after %d s.", without_tokens(path), seconds)
        if len(_pages) == LIMIT:
            end_worker()

    timer = asyncio.get_running_loop().call_later(settings.REQUEST_SECONDS + LATE_SECONDS, check)
    try:
        yield
    finally:
        timer.cancel()
        _pages.discard(page)


def end_worker() -> None:
    """End this worker once no other one of its server ends, unless its pages have ended meanwhile.

    New requests go to the others, and its own have time to finish: gunicorn kills it after
    REQUEST_SECONDS / 2 at the earliest, as it no longer hears of it.
    """
    global _is_ending
    if _is_ending or len(_pages) < LIMIT:
        return
    if not take_turn():
        asyncio.get_running_loop().call_later(RETRY_SECONDS, end_worker)
        return
    _is_ending = True
    logger.error("%d pages hang in this worker, so a fresh one replaces it.", len(_pages))
    os.kill(os.getpid(), signal.SIGTERM)


def take_turn() -> bool:
    """Return whether no other worker of this server ends; the turn lasts until this one has."""
    lock = os.open(settings.DRAIN_FILE.with_name("hanging.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def is_ending() -> bool:
    """Return whether this worker ends because of its pages."""
    return _is_ending
