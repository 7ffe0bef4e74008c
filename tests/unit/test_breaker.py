"""The breakers that keep workers out of a server that hangs, between real processes."""

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from types import SimpleNamespace
from typing import Any

import kombu.exceptions
import pytest
import redis
from celery import Celery

from mysite.celery import app
from ops import breaker
from ops.breaker import BROKER, REDIS, AwayError, Breaker, within
from ops.database import watched
from ops.database.watched import Watched
from ops.redis_client import AskOnce, NotAskedError
from tests.unit.config_files import haproxy_seconds
from tests.waiting import eventually

PATIENCE = 0.1


@contextmanager
def another_worker(shared: Breaker) -> Iterator[int]:
    """Have a forked process take its turn and keep it, as one whose try hangs; give its id."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, b"1" if shared.take() else b"0")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"1"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


def in_another_process(work: Callable[[], object]) -> bool:
    """Run something in a forked process to its end; tell whether it returned something true."""
    pid = os.fork()
    if not pid:
        result: object = None
        try:
            result = work()
        finally:
            os._exit(not result)
    return os.waitpid(pid, 0)[1] == 0


def wait_with(look: Callable[[], None], seconds: float = 5) -> None:
    """Wait for an answer that does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        look()
        time.sleep(PATIENCE / 10)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """A breaker with shorter times."""
    monkeypatch.setattr(breaker, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0.2)
    return Breaker("the server")


@pytest.fixture
def no_end_of_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, the pause is not over before the test has looked."""
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 600)


def test_turns_to_connect_follow_each_other(shared: Breaker) -> None:
    for _ in range(3):
        assert shared.take()
        shared.give_back(away=False)
        # Here it would succeed in any case: a process can take its own lock again.
        assert in_another_process(shared.take)


def test_while_one_connection_hangs_others_are_refused_at_once(shared: Breaker) -> None:
    with another_worker(shared):
        assert not shared.take()
        # After one wait no further call waits.
        started = time.monotonic()
        assert not any(shared.take() for _ in range(100))
        # The machine may be busy; a hundred waits would be twice as long.
        assert time.monotonic() - started < 50 * PATIENCE

    # The process that hung is gone, and its turn with it.
    eventually(shared.take, seconds=5, what="the next try")


def test_after_a_failure_there_is_a_pause_then_a_try(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.take()
    with monkeypatch.context() as patch:
        patch.setattr(breaker, "PAUSE_SECONDS", 600)
        shared.give_back(away=True)
        assert not shared.take()

    eventually(shared.take, seconds=5, what="the next try")
    shared.give_back(away=False)
    assert shared.take()


def test_a_busy_start_waits_as_long_as_others_succeed(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workers connect at once after a start: none of them takes that for an outage."""
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def lock() -> bool:
        # Another one's turn ends well at each look.
        shared._write(0, now)
        return now > 1000 + 10 * PATIENCE

    # A clock of its own: in a real one a busy machine may take such a step between two lines.
    monkeypatch.setattr(breaker, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    monkeypatch.setattr(shared, "_lock", lock)

    assert shared.take()


def test_the_wait_is_shorter_than_the_load_balancers_queue() -> None:
    longest = max(breaker.CONNECT_SECONDS, breaker.PATIENCE_SECONDS + breaker.CHECK_SECONDS)

    assert haproxy_seconds("defaults", "timeout queue") > longest


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_one_failed_call_refuses_the_calls_of_all_processes(shared: Breaker) -> None:
    def fail() -> None:
        with pytest.raises(OSError), shared.call(OSError):
            raise ConnectionRefusedError

    in_another_process(fail)

    assert shared.is_open
    with pytest.raises(AwayError, match="the server"), shared.call(OSError):
        pytest.fail("the server was asked")


def test_after_the_pause_one_call_tries_and_its_success_lets_all_through(shared: Breaker) -> None:
    shared.open()

    def succeeds() -> bool:
        with shared.call(OSError):
            return True

    def tried() -> bool:
        try:
            return succeeds()
        except AwayError:
            return False

    eventually(tried, seconds=5, what="the try after the pause")
    assert not shared.is_open
    assert all(succeeds() for _ in range(3))
    # The one that tried has given its turn back.
    assert in_another_process(shared.take)


def test_while_one_call_tries_another_process_is_refused(shared: Breaker) -> None:
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")
    with another_worker(shared), pytest.raises(AwayError), shared.call(OSError):
        pytest.fail("two have asked")


def test_an_old_failure_refuses_no_call(shared: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two come at once, an hour after an outage: neither is refused because the other one tries."""
    shared.open()
    monkeypatch.setattr(breaker, "STALE_SECONDS", 0.1)
    eventually(lambda: not shared.is_open, seconds=5, what="the failure is old")
    called = False

    with another_worker(shared), shared.call(OSError):
        called = True

    assert called


def test_a_call_inside_a_call_is_part_of_it(shared: Breaker) -> None:
    """A client connects while it sends a command."""
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")

    with shared.call(OSError), shared.call(OSError):
        pass

    assert not shared.is_open


def test_errors_of_another_kind_and_the_servers_own_leave_it_closed(shared: Breaker) -> None:
    for error in (ValueError(), PermissionError()):
        with pytest.raises(type(error)), shared.call(OSError, but=PermissionError):
            raise error

    assert not shared.is_open


def test_a_long_statement_is_waited_for_while_the_server_answers_others(shared: Breaker) -> None:
    checks: list[bool] = []

    def check() -> bool:
        checks.append(True)
        return True

    look = shared.watch(check, seconds=600)
    wait_with(look, 10 * PATIENCE)

    # Ever rarer: not each time.
    assert 1 <= len(checks) <= 8
    assert not shared.is_open


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_a_statement_is_given_up_once_the_server_is_known_to_hang(shared: Breaker) -> None:
    look = shared.watch(lambda: False, seconds=600)
    other = shared.watch(lambda: True, seconds=600)

    with pytest.raises(AwayError):
        wait_with(look)
    assert shared.is_open
    # No other process has to check.
    with pytest.raises(AwayError):
        other()


def test_a_statement_is_given_up_while_another_process_hangs_connecting(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "CHECK_SECONDS", PATIENCE)
    look = shared.watch(lambda: pytest.fail("it has the lock"), seconds=600)
    with another_worker(shared), pytest.raises(AwayError):
        wait_with(look)


def test_no_statement_is_waited_for_without_end(shared: Breaker) -> None:
    look = shared.watch(lambda: True, seconds=PATIENCE)
    with pytest.raises(AwayError, match=r"the server has not answered for \d\.\d s"):
        wait_with(look)


class Clock:
    """A time that moves in steps without rounding errors."""

    STEP = 1 / 64

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0
        self.sleep = None

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def steps(self, look: Callable[[], None], seconds: float) -> Iterator[float]:
        """Let time pass, checking at each step; yield how long it has been."""
        begun = self.now
        while self.now < begun + seconds:
            self.now += self.STEP
            look()
            yield self.now - begun


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the breaker's clock."""
    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def test_a_long_statement_is_checked_each_time_after_twice_as_long(clock: Clock) -> None:
    shared, checks = Breaker("the server"), []

    def check() -> bool:
        checks.append(clock.now - 1000)
        return True

    for _ in clock.steps(shared.watch(check, seconds=600), 5):
        pass

    assert checks == [0.25, 0.5, 1, 2, 4]


def test_another_process_s_check_is_waited_for_as_long_as_one_takes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait starts again when the server answers anyone."""
    shared = Breaker("the server")
    monkeypatch.setattr(shared, "_lock", lambda: False)
    late = shared.watch(lambda: True, seconds=600)
    clock.now += 1
    late()
    assert not shared.is_open
    for seconds in clock.steps(shared.watch(lambda: True, seconds=600), 0.5):
        if seconds == 0.5:
            shared.close()
    assert not shared.is_open

    opened = next(
        seconds
        for seconds in clock.steps(shared.watch(lambda: True, seconds=600), 5)
        if shared.is_open
    )
    # From the end of its patience on.
    assert opened == breaker.PATIENCE_SECONDS + breaker.CHECK_SECONDS + Clock.STEP


class Refusing(Watched):
    """A connection that the database refuses, as one too many."""

    Database = sqlite3

    def connect_now(self, conn_params: dict[str, Any]) -> Any:
        raise sqlite3.Error("too many connections")

    def away_error(self, reason: str) -> Exception:
        return OSError(reason)

    def is_away(self, error: Exception) -> bool:
        return True

    def was_answered(self, error: Exception) -> bool:
        return True


def test_a_full_database_costs_no_connection_that_is_open(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "DATABASE", shared)
    look = shared.watch(lambda: True, seconds=600)

    with pytest.raises(sqlite3.Error):
        Refusing().get_new_connection({})

    assert not shared.is_open
    look()


def test_what_comes_too_late_is_undone() -> None:
    go, undone = threading.Event(), Queue[str]()

    def late() -> str:
        go.wait(10)
        return "late"

    with pytest.raises(TimeoutError):
        within(0.01, late, undone.put)
    go.set()

    assert undone.get(timeout=10) == "late"
    assert within(10, lambda: "at once", lambda _: None) == "at once"


@contextmanager
def hanging_server() -> Iterator[tuple[int, list[int]]]:
    """Give the port of a server that takes connections and says nothing, and how many it took."""
    taken: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    taken.append(server.accept()[0].detach())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
    for descriptor in taken:
        os.close(descriptor)


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_a_redis_that_hangs_is_asked_once_for_all_its_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hanging_server() as (port, taken):
        url = f"redis://127.0.0.1:{port}"
        client = redis.Redis(port=port, retry=AskOnce(), socket_timeout=1)
        monkeypatch.setitem(app.conf, "broker_write_url", url)
        monkeypatch.setitem(app.conf, "broker_url", url)
        monkeypatch.setattr("ops.celery.breaker_of", lambda _: REDIS)
        for _ in range(3):
            with pytest.raises(redis.RedisError):
                client.incr("orders")
            with pytest.raises(kombu.exceptions.OperationalError, match="just now"):
                app.send_task("tests.ship")
        with pytest.raises(NotAskedError):
            redis.Redis(port=port, retry=AskOnce()).ping()

        assert len(taken) == 1


def test_redis_refusing_a_password_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(redis.AuthenticationError):
        AskOnce().call_with_retry(refuse, lambda _: None)

    assert not REDIS.is_open


def refuse() -> None:
    """Answer as Redis does to a wrong password."""
    raise redis.AuthenticationError("WRONGPASS")


def test_a_task_that_cannot_be_written_down_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kombu.exceptions.EncodeError

    monkeypatch.setattr(Celery, "send_task", fail)
    with pytest.raises(kombu.exceptions.EncodeError):
        app.send_task("tests.ship", args=[object()])

    assert not BROKER.is_open


def test_a_redis_that_is_full_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a message, and answers everything else."""

    def fail(*_: object, **__: object) -> None:
        full = redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        raise kombu.exceptions.OperationalError(str(full)) from full

    monkeypatch.setattr(Celery, "send_task", fail)
    monkeypatch.setattr("ops.celery.breaker_of", lambda _: REDIS)
    with pytest.raises(kombu.exceptions.OperationalError, match="maxmemory"):
        app.send_task("tests.ship", args=["a"])

    assert not REDIS.is_open
