"""What all faults have in common: what may fail, and when all is well again."""

import time
from collections.abc import Callable

from ops.environment.contract import VARIABLES
from tests.chaos.load import Load
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

# A server's workers, and as many requests at once does HAProxy hand to it.
WORKERS = int(VARIABLES["WEB_CONCURRENCY"].default)
# A killed container's processes end one after another, some ms apart. While one still listens, the
# kernel takes a connection for it: a place whose request was cut off is filled once more, and cut
# off again. In HAProxy's log such a write begins where its place's former one ends and is no
# refused connection ("SH", retries 0), so nothing may be sent again. Two of 26 kills lost a third
# write that way.
IN_FLIGHT = 2 * WORKERS
# From the fault to the moment after which nothing fails any more.
RECOVERY_SECONDS = 5


def answers(stack: Stack, profile: str) -> bool:
    """Return whether a server answers through HAProxy."""
    return profile in stack.in_service()


def recovered(load: Load, since: float, back: Callable[[], bool], *, seconds: float = 60) -> float:
    """Wait until all is well and return how many seconds after the fault that was.

    A look takes a second or two, which are not the site's: the time is that at which the look began
    that found all well. A request that fails later puts it off.

    Args:
        load: what runs meanwhile.
        since: the fault's time on the monotonic clock.
        back: whether what was hit is in service again.
        seconds: a generous bound on the wait; the caller compares what is returned.
    """
    asked_at = since

    def look() -> bool:
        nonlocal asked_at
        asked_at = time.monotonic()
        return back()

    eventually(look, seconds=seconds, what="back in service after the fault")
    load.all_served_again()
    return max([asked_at, *(outcome.ended for outcome in load.failed)]) - since


def check_failures(load: Load, *, posts: int) -> None:
    """No page or file failed, and of the writes at most those that were cut off in their work.

    A write that had been repeated would be answered 409: its key is there already.
    """
    failed = load.failed
    assert not [outcome for outcome in failed if outcome.request.method == "GET"], load.summary()
    assert len(failed) <= posts, load.summary()
    assert 409 not in {outcome.status for outcome in failed}, load.summary()


def host_pid(stack: Stack, service: str) -> int:
    """Return the id that a container's first process has on this machine; 0 where it has none."""
    return int(docker("inspect", "--format", "{{.State.Pid}}", stack.container(service)))
