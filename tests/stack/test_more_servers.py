"""SERVER_COUNT=4: one number, and every part of the stack knows four servers."""

from collections.abc import Iterator
from itertools import repeat

import pytest

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import Stack
from tests.waiting import eventually

SERVERS = ["server1", "server2", "server3", "server4"]
NAMES = ["set1", "set2", "set3", "set4"]


@pytest.fixture(scope="module")
def four(local: Stack) -> Iterator[Stack]:
    """The local stack with the variable, as a line of .env would set it; without it afterwards."""
    local.environment["SERVER_COUNT"] = "4"
    try:
        local.up()
        # Docker calls it healthy before HAProxy has: that wants two good checks of its own.
        eventually(
            lambda: set(in_turn(local, 4)) == set(NAMES), seconds=20, what="requests reach it again"
        )
        yield local
    finally:
        del local.environment["SERVER_COUNT"]
        local.compose("up", "--detach", "--wait", "--remove-orphans")
    local.wait_for_both()
    # Nothing is left of it: no container, and no trace on the status page.
    assert local.container("server3") == local.container("server4") == ""
    assert watched(local) == {"set1": "up", "set2": "up"}


def watched(stack: Stack) -> dict[str, str]:
    """Return the state of each server that the status page shows."""
    return {
        found["name"]: found["state"] for found in stack.get("/status/report/").json()["servers"]
    }


def in_turn(stack: Stack, count: int) -> list[str]:
    return [stack.profile()["server"] for _ in range(count)]


def test_requests_alternate_between_four_servers(four: Stack) -> None:
    turns = in_turn(four, 12)

    assert sorted(turns[:4]) == NAMES
    assert turns == turns[:4] * 3


def test_status_page_shows_four_servers(four: Stack) -> None:
    assert watched(four) == dict.fromkeys(NAMES, "up")
    page = four.get("/status/").text
    assert all(name in page for name in NAMES)


def test_stackctl_drains_the_fourth_server(four: Stack) -> None:
    servers = four.ask("status")["servers"]
    assert [(found["server"], found["state"]) for found in servers] == [
        (name, "ready") for name in SERVERS
    ]

    assert four.ask("drain", "server4")["state"] == "drained"
    assert four.in_service() == {"set1", "set2", "set3"}
    assert four.ask("ready", "server4")["state"] == "ready"
    assert set(in_turn(four, 4)) == set(NAMES)


def test_stopping_the_fourth_server_fails_no_request(four: Stack) -> None:
    clients = [
        Client(repeat(Request("GET", "/profile/")), keep_alive=number % 2 == 0)
        for number in range(12)
    ]
    with Load(four.http_port, clients) as load:
        load.warm_up()
        four.compose("stop", "server4")
        load.all_served_again()
        # Not in turn: each of the others' requests takes a turn too.
        four.wait_for_both()
        eventually(
            lambda: watched(four)["set4"] == "down", seconds=10, what="the page shows it down"
        )
        four.compose("up", "--detach", "--wait", "--no-deps", "server4")
        eventually(lambda: set(in_turn(four, 4)) == set(NAMES), seconds=20, what="it is back")

    assert len(load.outcomes) > 300, load.summary()
    assert not load.failed, load.summary()
