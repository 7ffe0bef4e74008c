"""`stackctl heal` from start to end: which services it starts and restarts, and how often."""

import signal
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Ended, Stack, fails

NO_ENGINE = "Cannot connect to the Docker daemon"
LOCKED = {f"{NAME}-stackctl": {"command": "up", "who": "me@here", "since": "noon", "process": "7"}}


def heal(stack: Stack) -> Ended:
    return stack.run("heal", "--json")


def watch(stack: Stack, seconds: float, *options: str) -> Ended:
    """Run heal --watch for some seconds, until SIGTERM."""
    stack.clock.plan(seconds, partial(signal.raise_signal, signal.SIGTERM))
    return stack.run("heal", "--watch", "--json", *options)


def start_steps(stack: Stack) -> list[str]:
    """Return the start and restart steps."""
    return [step for step in stack.steps if step.startswith(("start", "restart"))]


def hang(stack: Stack, service: str) -> None:
    stack.containers[service].health = "unhealthy"


def drained(stack: Stack, action: Callable[[], object]) -> None:
    stack.balancer.admin = {("dynamic_backend", "server1"): "drain"}
    action()


def facts(service: str, **changes: Any) -> Callable[[Stack], None]:
    """Return a function that changes a container."""

    def change(stack: Stack) -> None:
        for name, fact in changes.items():
            setattr(stack.containers[service], name, fact)

    return change


def test_heal_changes_nothing_in_a_healthy_stack(stack: Stack) -> None:
    ended = heal(stack)

    assert ended.code == 0 and "nothing to heal" in ended.err and stack.steps == []
    nothing: dict[str, Any] = {"healed": [], "failed": [], "left_alone": {}}
    assert ended.result == {"project": NAME, **nothing, "code": 0}


HEALED: dict[str, tuple[Callable[[Stack], object], str, str]] = {
    "server killed": (lambda s: s.end("server1"), "start server1", "it ended with exit code 137"),
    "database": (lambda s: s.end("db"), "start db", "it ended with exit code 137"),
    "haproxy": (lambda s: s.end("haproxy"), "start haproxy", "it ended with exit code 137"),
    "worker": (lambda s: s.end("worker", 1), "start worker", "it ended with exit code 1"),
    "memory": (
        lambda s: s.end("worker", out_of_memory=True),
        "start worker",
        "it ended with exit code 137 (out of memory)",
    ),
    "server hangs": (
        lambda s: hang(s, "server1"),
        "restart server1",
        "it runs, but it is unhealthy",
    ),
    "worker hangs": (lambda s: hang(s, "worker"), "restart worker", "it runs, but it is unhealthy"),
}


@pytest.mark.parametrize(("change", "step", "reason"), HEALED.values(), ids=HEALED)
def test_heal_starts_services_that_ended_and_restarts_services_that_hang(
    stack: Stack, change: Callable[[Stack], object], step: str, reason: str
) -> None:
    verb, service = step.split()
    stack.behave("aaaa", log="its last words")
    change(stack)

    ended = heal(stack)

    assert stack.steps == ["lock heal", "write owner", step] and not stack.locks
    assert ended.code == 0 and ended.result["healed"] == [service]
    assert f"{service}: {reason}; {verb}ing it. Its last lines:" in ended.err
    assert f"{service}: back in service after " in ended.err
    if service in ("server1", "worker"):
        assert "    its last words" in ended.err
    assert stack.containers[service].status == "running"
    assert stack.balancer.up() == ["server1", "server2"] or service == "haproxy"
    # A hanging server stops within the request timeout; other services use stop_grace_period.
    (call,) = [call for call in stack.calls if call.startswith(f"docker {verb} ")]
    assert ("-t 25" in call) == (step == "restart server1")


def test_server_is_back_by_its_own_health_while_haproxy_does_not_answer(stack: Stack) -> None:
    stack.end("server1")
    stack.balancer.silent = "no answer"

    ended = heal(stack)

    assert ended.code == 0 and ended.result["healed"] == ["server1"]
    assert "server1: back in service after " in ended.err


def test_heal_restarts_a_hanging_worker_while_no_server_is_in_service(stack: Stack) -> None:
    """No server could handle its work anyway."""
    stack.end("server1", 0)
    stack.end("server2", 0)
    hang(stack, "worker")

    assert heal(stack).result["healed"] == ["worker"]


def hang_as_last_server(stack: Stack) -> None:
    hang(stack, "server1")
    stack.end("server2", 0)


def end_in_maintenance(stack: Stack) -> None:
    stack.balancer.admin["dynamic_backend", "server1"] = "maint"
    stack.end("server1")


def end_without_restart_policy(stack: Stack) -> None:
    """End a service that is not restarted by policy."""
    stack.containers["worker"].policy = "no"
    stack.end("worker")


LEFT_ALONE: dict[str, tuple[Callable[[Stack], object], int, str]] = {
    "stopped": (lambda s: s.end("server1", 0), 0, "server1: it was stopped cleanly"),
    "stopped without a handler": (
        lambda s: s.end("server1", 143),
        0,
        "server1: it was stopped cleanly",
    ),
    "stopped by hand": (
        lambda s: s.end("server1", stopped=True),
        0,
        "server1: it ended with exit code 137, because it was stopped",
    ),
    "drained": (
        lambda s: drained(s, lambda: s.end("server1")),
        0,
        "server1: it ended with exit code 137, but it was drained by hand",
    ),
    "drained and hanging": (
        lambda s: drained(s, lambda: hang(s, "server1")),
        0,
        "server1: it is unhealthy, but it was drained by hand",
    ),
    "in maintenance": (
        end_in_maintenance,
        0,
        "server1: it ended with exit code 137, but it was drained by hand",
    ),
    "stopping": (
        facts("server1", health="unhealthy", stopping=True),
        0,
        "server1: it is being stopped",
    ),
    "database hangs": (lambda s: hang(s, "db"), 1, "db: it is unhealthy; only servers and workers"),
    "last server": (
        hang_as_last_server,
        1,
        "server1: it is unhealthy, but no other server is in service",
    ),
}


@pytest.mark.parametrize(("change", "code", "words"), LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_heal_reports_services_that_it_does_not_start(
    stack: Stack, change: Callable[[Stack], object], code: int, words: str
) -> None:
    change(stack)

    ended = heal(stack)

    assert stack.steps == [] and ended.code == ended.result["code"] == code
    assert words in ended.err and "not restarted" in ended.err
    service, _, reason = words.partition(": ")
    assert ended.result["left_alone"][service].startswith(reason)


@pytest.mark.parametrize(
    "change",
    [
        facts("server1", status="restarting"),
        facts("server1", status="paused"),
        facts("server1", status="created"),
        facts("server1", health="starting"),
        end_without_restart_policy,
    ],
)
def test_heal_ignores_services_that_docker_handles(
    stack: Stack, change: Callable[[Stack], object]
) -> None:
    change(stack)

    ended = heal(stack)

    assert (ended.code, stack.steps, ended.result["left_alone"]) == (0, [], {})


@pytest.mark.parametrize("seconds", [1, 40])
def test_heal_distinguishes_a_drained_server_from_one_that_ended(
    stack: Stack, seconds: float
) -> None:
    """HAProxy shows both as DOWN first, and as `MAINT (resolution)` later."""
    drained(stack, lambda: stack.end("server1"))
    stack.clock.sleep(seconds)
    assert heal(stack).result["healed"] == []

    stack.balancer.admin.clear()
    assert heal(stack).result["healed"] == ["server1"]


def test_heal_starts_the_database_before_the_servers(stack: Stack) -> None:
    for service in ("haproxy", "redis", "server2", "db"):
        stack.end(service)

    ended = heal(stack)

    assert start_steps(stack) == ["start db", "start server2", "start haproxy", "start redis"]
    assert sorted(ended.result["healed"]) == ["db", "haproxy", "redis", "server2"]


def test_heal_starts_ended_services_before_it_restarts_a_hanging_one(stack: Stack) -> None:
    hang(stack, "server1")
    hang(stack, "worker")
    stack.end("server2")
    heal(stack)
    assert start_steps(stack) == ["start server2"]

    # Never two services at once.
    heal(stack)
    assert start_steps(stack) == ["restart server1"]
    heal(stack)
    assert start_steps(stack) == ["restart worker"]


def test_heal_reports_a_service_that_ends_again(stack: Stack) -> None:
    stack.behave("aaaa", "worker", ends=True)
    stack.end("worker")

    ended = heal(stack)

    assert ended.code == 1 and ended.result["failed"] == ["worker"]
    assert "error: worker: ended again" in ended.err


def test_heal_waits_for_a_service_up_to_a_timeout(stack: Stack) -> None:
    stack.behave("aaaa", "server1", healthy_after=80)
    stack.end("server1")
    assert heal(stack).result["healed"] == ["server1"]

    stack.behave("aaaa", "server1", becomes="starting")
    stack.end("server1")
    ended = heal(stack)
    assert ended.result["failed"] == ["server1"]
    assert "error: server1: not in service after 90 s" in ended.err


def test_heal_waits_for_each_service_when_another_fails(stack: Stack) -> None:
    stack.behave("aaaa", "server1", becomes="starting")
    # Without a health check.
    stack.behave("aaaa", "worker", becomes="none")
    stack.end("server1")
    stack.end("worker")

    result = heal(stack).result

    assert (result["healed"], result["failed"], result["code"]) == (["worker"], ["server1"], 1)


def test_heal_waits_until_haproxy_marks_the_server_up(stack: Stack) -> None:
    stack.end("server1")
    stack.behave("aaaa", "server1", check="L4CON")
    assert heal(stack).result["failed"] == ["server1"]

    # Without HAProxy, the health of the container decides.
    stack.end("server1")
    stack.balancer.silent = "no answer within 10 s"
    assert heal(stack).result["healed"] == ["server1"]


def test_heal_reports_an_error_of_the_engine(stack: Stack) -> None:
    stack.end("server1")
    stack.faults["start server1"] = fails("port is taken")

    ended = heal(stack)

    assert ended.code == 1 and ended.result["failed"] == ["server1"]
    assert "error: server1: port is taken" in ended.err and not stack.locks


def test_heal_is_refused_while_another_command_changes_the_stack(stack: Stack) -> None:
    stack.end("server1")
    stack.locks = dict(LOCKED)

    ended = heal(stack)

    assert ended.code == 1 and stack.steps == [] and stack.locks == LOCKED
    assert ended.result["error"].startswith("something is to be healed, but `stackctl up` of me@")
    assert ended.result["next"] == "Wait until it has ended."


def test_heal_checks_again_when_it_has_the_lock(stack: Stack) -> None:
    """The previous holder may have stopped the service on purpose."""
    stack.end("server1")
    stack.faults["lock heal"] = lambda: stack.end("server1", 0)

    ended = heal(stack)

    assert start_steps(stack) == [] and ended.result["healed"] == []
    assert ended.result["left_alone"] == {"server1": "it was stopped cleanly"}


def test_heal_watch_waits_for_another_command_and_reports_it_once(stack: Stack) -> None:
    stack.end("server1")
    stack.locks = dict(LOCKED)
    stack.clock.plan(33, stack.locks.clear)

    ended = watch(stack, 60)

    assert ended.code == 0 and start_steps(stack) == ["start server1"]
    assert ended.err.count("`stackctl up` of me@here") == 1
    assert "the next check tries again" in ended.err


def test_heal_watch_waits_for_an_engine_that_does_not_answer(stack: Stack) -> None:
    stack.clock.plan(1, lambda: setattr(stack, "before", lambda _: Reply(1, "", NO_ENGINE)))
    stack.clock.plan(31, lambda: setattr(stack, "before", lambda _: None))
    stack.clock.plan(40, partial(stack.end, "server1"))

    ended = watch(stack, 60)

    assert ended.err.count(f"{NO_ENGINE}; the next check tries again") == 1
    assert start_steps(stack) == ["start server1"]


def test_heal_watch_checks_at_its_interval_until_a_signal(stack: Stack) -> None:
    before = signal.getsignal(signal.SIGTERM)

    ended = watch(stack, 59, "--seconds", "10")

    assert ended.code == 0 and stack.clock.now == pytest.approx(1059, abs=1)
    assert ended.result == {"project": NAME, "code": 0}
    assert ended.err.count("ending") == 1
    assert f"watching {NAME}, a check every 10 s" in ended.err
    # Plus one to find the stack.
    assert sum("ps --quiet" in call for call in stack.calls) == 6
    assert signal.getsignal(signal.SIGTERM) == before


def test_heal_watch_prints_each_check_that_healed_a_service(stack: Stack) -> None:
    stack.clock.plan(20, partial(stack.end, "worker"))
    stack.clock.plan(300, partial(stack.end, "server2"))
    stack.clock.plan(400, partial(stack.end, "server1", 0))

    ended = watch(stack, 500)

    lines = ended.out.splitlines()
    assert ['"healed": ["worker"]' in line for line in lines] == [True, False, False]
    assert ['"healed": ["server2"]' in line for line in lines] == [False, True, False]
    assert ended.err.count("server1: it was stopped cleanly; not restarted") == 1


def test_heal_watch_remembers_a_service_stopped_by_hand(stack: Stack) -> None:
    stack.end("server1", stopped=True)
    stack.clock.plan(20, partial(setattr, stack.containers["server1"], "stopped", False))
    # A later end is not by hand.
    stack.clock.plan(60, partial(stack.end, "server1"))
    stack.clock.plan(50, lambda: tried.extend(start_steps(stack)))
    tried: list[str] = []

    watch(stack, 100)

    assert tried == [] and start_steps(stack) == ["start server1"]


def test_heal_watch_backs_off_for_a_service_that_keeps_failing(stack: Stack) -> None:
    stack.behave("aaaa", "worker", ends=True)
    stack.end("worker")
    tried: list[float] = []
    stack.faults["start worker"] = lambda: tried.append(stack.clock.now)

    ended = watch(stack, 2500)

    pauses = [after - before for before, after in pairwise(tried)]
    expected = (10, 20, 40, 80, 160, 300, 300, 300, 300, 300)
    assert len(pauses) >= len(expected)
    assert all(e <= p <= e + 6 for p, e in zip(pauses, expected, strict=False)), pauses
    assert ended.err.count("again soon after try 3; the next one comes 40 s after that") == 1


def test_heal_watch_resets_the_backoff_when_a_service_stays_healthy(stack: Stack) -> None:
    ended_at = [100.0 + 80 * number for number in range(10)]
    for moment in ended_at:
        stack.clock.plan(moment, partial(stack.end, "worker"))
    tried: list[float] = []
    stack.faults["start worker"] = lambda: tried.append(stack.clock.now - 1000)

    watch(stack, 1000)

    assert tried == [pytest.approx(moment, abs=6) for moment in ended_at]


def test_heal_watch_keeps_the_backoff_when_a_service_is_healthy_for_a_moment(stack: Stack) -> None:
    for number in range(40):
        stack.clock.plan(20.0 * number, partial(stack.end, "worker"))

    watch(stack, 800)

    # After about 0, 10, 30, 70, 150, 310 and 610 seconds.
    assert len(start_steps(stack)) == 7


def test_heal_waits_for_a_container_that_restarts(stack: Stack) -> None:
    worker = stack.containers["worker"]
    stack.end("worker")

    def restart() -> None:
        stack.clock.plan(0.01, lambda: vars(worker).update(status="restarting", health="healthy"))
        stack.clock.plan(8, lambda: vars(worker).update(status="running"))

    stack.faults["start worker"] = restart

    ended = heal(stack)

    assert ended.code == 0 and ended.result["healed"] == ["worker"] and stack.clock.now >= 1008
