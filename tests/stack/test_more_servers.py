"""SERVER_COUNT=4: all parts of the stack use four servers."""

from collections.abc import Iterator
from itertools import repeat

import pytest

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import Stack
from tests.waiting import eventually

SERVERS = ["server1", "server2", "server3", "server4"]
NAMES = ["set1", "set2", "set3", "set4"]


@pytest.fixture(scope="module")
def four_servers(local: Stack) -> Iterator[Stack]:
    """Start the local stack with SERVER_COUNT=4, and restore it afterwards."""
    local.environment["SERVER_COUNT"] = "4"
    try:
        local.up()
        # HAProxy needs two successful checks after Docker marks the containers as healthy.
        eventually(
            lambda: set(request_servers(local, 4)) == set(NAMES),
            seconds=20,
            what="all servers get requests",
        )
        yield local
    finally:
        del local.environment["SERVER_COUNT"]
        local.compose("up", "--detach", "--wait", "--remove-orphans")
    local.wait_for_both()
    # Without the variable, containers and status page have two servers again.
    assert local.container("server3") == local.container("server4") == ""
    assert states_on_status_page(local) == {"set1": "up", "set2": "up"}


def states_on_status_page(stack: Stack) -> dict[str, str]:
    """Return the state of each server that the status page shows."""
    return {
        server["name"]: server["state"] for server in stack.get("/status/report/").json()["servers"]
    }


def request_servers(stack: Stack, count: int) -> list[str]:
    return [stack.profile()["server"] for _ in range(count)]


def test_requests_alternate_between_four_servers(four_servers: Stack) -> None:
    turns = request_servers(four_servers, 12)

    assert sorted(turns[:4]) == NAMES
    assert turns == turns[:4] * 3


def test_status_page_shows_four_servers(four_servers: Stack) -> None:
    assert states_on_status_page(four_servers) == dict.fromkeys(NAMES, "up")
    page = four_servers.get("/status/").text
    assert all(name in page for name in NAMES)


def test_stackctl_drains_the_fourth_server(four_servers: Stack) -> None:
    servers = four_servers.ask("status")["servers"]
    assert [(server["server"], server["state"]) for server in servers] == [
        (name, "ready") for name in SERVERS
    ]

    assert four_servers.ask("drain", "server4")["state"] == "drained"
    assert four_servers.in_service() == {"set1", "set2", "set3"}
    assert four_servers.ask("ready", "server4")["state"] == "ready"
    assert set(request_servers(four_servers, 4)) == set(NAMES)


def test_stopping_the_fourth_server_fails_no_request(four_servers: Stack) -> None:
    clients = [
        Client(repeat(Request("GET", "/profile/")), keep_alive=number % 2 == 0)
        for number in range(12)
    ]
    with Load(four_servers.http_port, clients) as load:
        load.warm_up()
        four_servers.stop("server4")
        load.wait_until_all_are_served()
        eventually(
            lambda: set(request_servers(four_servers, 6)) == {"set1", "set2", "set3"},
            seconds=20,
            what="the others answer",
        )
        eventually(
            lambda: states_on_status_page(four_servers)["set4"] == "down",
            seconds=10,
            what="the status page shows it as down",
        )
        four_servers.compose("up", "--detach", "--wait", "--no-deps", "server4")
        eventually(
            lambda: set(request_servers(four_servers, 4)) == set(NAMES),
            seconds=20,
            what="server4 answers again",
        )

    assert len(load.outcomes) > 300, load.summary()
    assert not load.failed, load.summary()
