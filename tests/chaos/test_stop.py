"""Servers that stop and start while visitors are there."""

from tests.chaos.conftest import written
from tests.chaos.load import Load
from tests.stack.compose import Stack, docker
from tests.waiting import eventually


def warmed_up(load: Load) -> None:
    """Return once every client has been answered."""
    eventually(
        lambda: all(client.outcomes for client in load.clients), seconds=60, what="all are served"
    )


def check_nothing_lost(load: Load, stack: Stack) -> None:
    """Every request was answered as it should, every acknowledged write is there once."""
    assert not load.failed, load.summary()
    rows = written(stack)
    assert len(rows) == len(set(rows))
    assert load.acknowledged() <= set(rows)


def test_stopping_and_starting_a_server_loses_nothing(loaded: Stack, load: Load) -> None:
    with load:
        warmed_up(load)
        loaded.compose("stop", "server2")
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        loaded.wait_for_both()

    print(load.summary())
    check_nothing_lost(load, loaded)


def test_restarting_a_server_loses_nothing(loaded: Stack, load: Load) -> None:
    with load:
        warmed_up(load)
        loaded.compose("restart", "server1")
        loaded.wait_for_both()

    print(load.summary())
    check_nothing_lost(load, loaded)


def test_recreating_a_server_loses_nothing(loaded: Stack, load: Load) -> None:
    with load:
        warmed_up(load)
        loaded.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", "server1")
        loaded.wait_for_both()

    print(load.summary())
    check_nothing_lost(load, loaded)


def test_a_naive_stop_loses_requests(loaded: Stack, load: Load) -> None:
    """The control: the same load sees loss where there is some."""
    with load:
        warmed_up(load)
        for _ in range(3):
            docker("kill", loaded.container("server2"))
            loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
            loaded.wait_for_both()

    print(load.summary())
    assert load.failed, "killing a server three times under load lost nothing: loss is not seen"
    # Even so, nothing that was acknowledged is lost or doubled.
    rows = written(loaded)
    assert len(rows) == len(set(rows))
    assert load.acknowledged() <= set(rows)
