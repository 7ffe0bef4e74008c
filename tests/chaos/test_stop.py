"""Servers that stop and start while visitors are there."""

from tests.chaos.conftest import check_nothing_lost, check_writes
from tests.chaos.load import Load
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack, docker

# A page that is cut off is asked for again, so one kill alone may hit no write.
KILLS = 10


def test_stopping_and_starting_a_server_loses_nothing(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load:
        load.warm_up()
        loaded.compose("stop", "server2")
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        loaded.wait_for_both()

    figures.add("`docker compose stop server2`, then start", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_restarting_a_server_loses_nothing(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        loaded.compose("restart", "server1")
        loaded.wait_for_both()

    figures.add("`docker compose restart server1`", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_recreating_a_server_loses_nothing(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        loaded.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", "server1")
        loaded.wait_for_both()

    figures.add("`docker compose up --force-recreate server1`", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_a_naive_stop_loses_requests(loaded: Stack, load: Load, figures: Figures) -> None:
    """The control: the same load sees loss where there is some."""
    for client in load.clients:
        # Few requests run at one moment else, and none of them might be a write.
        client.pause = 0
    with load:
        load.warm_up()
        kills = 0
        while not (kills and load.failed) and kills < KILLS:
            kills += 1
            docker("kill", loaded.container("server2"))
            loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
            loaded.wait_for_both()

    figures.add(
        f"control: server2 killed until it costs a request, {KILLS} times at most",
        "loss is seen",
        load,
        f"at kill {kills}",
    )
    assert load.failed, f"killing a server {KILLS} times under load lost nothing: loss is not seen"
    # Even so, nothing that was acknowledged is lost or doubled.
    check_writes(load, loaded)
