"""Other configurations of HAProxy while visitors are there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import Load
from tests.chaos.reliability import Figures
from tests.chaos.test_deploy import stackctl
from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited
from tests.waiting import eventually
from tools.stackctl.balancer import haproxy

CHANGED = "    http-after-response set-header X-Request-ID"


def config(stack: Stack) -> Path:
    """Return the configuration that the stack's HAProxy reads."""
    return stack.tree / "haproxy" / "haproxy.cfg"


def balancer(stack: Stack) -> haproxy.Balancer:
    """Return the stack's running HAProxy."""
    return haproxy.Balancer(stack.container("haproxy"))


def reloaded(stack: Stack, code: int = 0) -> dict[str, Any]:
    """Reload, which has to end with this code, and return what it says to scripts."""
    done = stackctl(stack, "reload", "--json")
    assert done.returncode == code, done.stdout[-3000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@contextmanager
def another_header(stack: Stack, value: str) -> Iterator[None]:
    """Have the configuration say a header more, for the block's time; nothing is reloaded yet."""
    more = f"    http-after-response set-header X-Reloaded {value}\n"
    with edited(config(stack), CHANGED, more + CHANGED):
        yield


@contextmanager
def put_back(stack: Stack) -> Iterator[None]:
    """Leave the stack with the configuration that the tree has."""
    try:
        yield
    finally:
        reloaded(stack)


def header(stack: Stack) -> str | None:
    """Return what the site says in the header."""
    return stack.get("/profile/").headers.get("X-Reloaded")


def test_reloads_lose_nothing(loaded: Stack, load: Load, figures: Figures) -> None:
    first = balancer(loaded).workers().present
    with put_back(loaded), load:
        load.warm_up()
        for value in ("one", "two", "three"):
            with another_header(loaded, value):
                said = reloaded(loaded)
            assert header(loaded) == value
            assert said["servers"] == {"server1": "ready", "server2": "ready"}
            # No process is left that knows the configuration before alone.
            assert balancer(loaded).workers() == haproxy.HaproxyWorkers(said["worker"], ())

    figures.add("three times another haproxy.cfg and `stackctl reload`", "0 failed", load)
    check_nothing_lost(load, loaded)
    assert said["worker"] != first


def test_a_drained_server_stays_drained(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        assert stackctl(loaded, "drain", "server2").returncode == 0
        try:
            said = reloaded(loaded)
            after = balancer(loaded).servers()
            assert loaded.in_service() == {"set1"}
        finally:
            assert stackctl(loaded, "ready", "server2").returncode == 0

    figures.add("`stackctl reload` with a drained server", "0 failed; it stays drained", load)
    assert said["servers"] == {"server1": "ready", "server2": "drained"}
    assert (after["server1"].status, after["server2"].status) == ("UP", "DRAIN")
    # Files neither.
    assert (after["server2"].answers, after["server2"].sessions) == (0, 0)
    check_nothing_lost(load, loaded)


def test_a_reload_that_is_not_stackctls_believes_no_old_state(loaded: Stack) -> None:
    """What was true at the last reload, such as a drained server, may be wrong by now."""
    assert stackctl(loaded, "drain", "server2").returncode == 0
    reloaded(loaded)
    assert stackctl(loaded, "ready", "server2").returncode == 0
    former = balancer(loaded).workers().present

    balancer(loaded).master("reload")

    eventually(
        lambda: balancer(loaded).workers().present not in (0, former),
        seconds=30,
        what="a new process",
    )
    eventually(
        lambda: loaded.in_service() == {"set1", "set2"}, seconds=30, what="both are in service"
    )
    assert balancer(loaded).servers()["server2"].up


@pytest.mark.parametrize(
    ("what", "old", "new", "told"),
    [
        (
            "a broken haproxy.cfg",
            "    balance leastconn",
            "    balance leastcon",
            "haproxy/haproxy.cfg:{number}",
        ),
        # HAProxy's own check lets it pass, and its try to bind would turn visitors away.
        (
            "an address that is not the container's",
            "    bind :8080",
            "    bind :8080\n    bind 192.0.2.1:8081",
            "bind 192.0.2.1:8081: Cannot assign requested address",
        ),
    ],
    ids=["broken", "address"],
)
def test_a_wrong_configuration_is_refused(
    loaded: Stack, load: Load, figures: Figures, what: str, old: str, new: str, told: str
) -> None:
    with put_back(loaded), load:
        load.warm_up()
        with another_header(loaded, "before"):
            worker = reloaded(loaded)["worker"]
        number = 1 + config(loaded).read_text().splitlines().index(old)
        with edited(config(loaded), old, new):
            said = reloaded(loaded, code=1)
        assert header(loaded) == "before"
        assert balancer(loaded).workers().present == worker

    figures.add(f"`stackctl reload` with {what}", "0 failed; refused", load)
    assert told.format(number=number) in said["next"]
    assert "nothing was changed" in said["error"]
    check_nothing_lost(load, loaded)
