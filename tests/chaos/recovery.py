"""Assertions of all faults: which requests may fail, and how long recovery takes."""

import time
from collections.abc import Callable

from ops.environment.contract import VARIABLES
from tests.chaos.load import Load
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

# The workers of a server, which is also HAProxy's maxconn for it.
WORKERS = int(VARIABLES["WEB_CONCURRENCY"].default)
# Processes of a killed container end some ms apart. While one still listens, HAProxy fills the slot
# of a request that was cut off once more, and that request is cut off too (2 of 26 kills).
IN_FLIGHT = 2 * WORKERS
# From the fault until the last failed request.
RECOVERY_SECONDS = 5


def is_in_service(stack: Stack, profile: str) -> bool:
    """Return whether a server answers through HAProxy."""
    return profile in stack.in_service()


def seconds_to_recover(
    load: Load, since: float, is_back: Callable[[], bool], *, seconds: float = 60
) -> float:
    """Wait until the site has recovered; return the seconds from the fault until then.

    A check takes a second or two, which do not count: recovery is when the first successful check
    started, or when the last failed request ended.

    Args:
        load: the load that runs meanwhile.
        since: the time of the fault on the monotonic clock.
        is_back: returns whether the service that failed is back.
        seconds: a generous limit of the wait; the caller compares the result.
    """
    checked_at = since

    def check() -> bool:
        nonlocal checked_at
        checked_at = time.monotonic()
        return is_back()

    eventually(check, seconds=seconds, what="back in service after the fault")
    load.wait_until_all_are_served()
    return max([checked_at, *(outcome.ended for outcome in load.failed)]) - since


def check_failures(load: Load, *, posts: int) -> None:
    """Assert that no page or file failed, and at most `posts` writes that were cut off.

    A write that was retried after taking effect would get 409, since its key exists.
    """
    failed = load.failed
    assert not [outcome for outcome in failed if outcome.request.method == "GET"], load.summary()
    assert len(failed) <= posts, load.summary()
    assert 409 not in {outcome.status for outcome in failed}, load.summary()


def host_pid(stack: Stack, service: str) -> int:
    """Return the host's id of a container's first process; 0 if it has none."""
    return int(docker("inspect", "--format", "{{.State.Pid}}", stack.container(service)))
