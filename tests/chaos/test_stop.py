"""Servers that are stopped, restarted, recreated and killed under load."""

from tests.chaos.conftest import check_nothing_lost, check_writes
from tests.chaos.load import ClosedLoop, Load, mixed_clients
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack, docker

# HAProxy retries pages, so one kill may hit no write.
KILLS = 10


def test_stopping_and_starting_a_server_fails_no_request(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load:
        load.warm_up()
        loaded.stop("server2")
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        loaded.wait_for_both()

    figures.add("`docker compose stop server2`, then start", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_restarting_a_server_fails_no_request(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        loaded.compose("restart", "server1")
        loaded.wait_for_both()

    figures.add("`docker compose restart server1`", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_recreating_a_server_fails_no_request(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        loaded.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", "server1")
        loaded.wait_for_both()

    figures.add("`docker compose up --force-recreate server1`", "0 failed", load)
    check_nothing_lost(load, loaded)


def test_killing_a_server_fails_requests_as_control(
    loaded: Stack, static: str, figures: Figures
) -> None:
    """The control: the load detects failed requests."""
    # Without pauses, more requests are running at the kill.
    clients = [
        ClosedLoop(client.requests, keep_alive=client.keep_alive)
        for client in mixed_clients(static)
    ]
    with Load(loaded.http_port, clients) as load:
        load.warm_up()
        kills = 0
        while not (kills and load.failed) and kills < KILLS:
            kills += 1
            docker("kill", loaded.container("server2"))
            loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
            loaded.wait_for_both()

    figures.add(
        f"control: server2 killed until a request fails, {KILLS} times at most",
        "failed requests are detected",
        load,
        f"at kill {kills}",
    )
    assert load.failed, (
        f"killing a server {KILLS} times under load failed no request: the load detects none"
    )
    # Acknowledged writes are still neither lost nor duplicated.
    check_writes(load, loaded)
