"""Reloads of HAProxy with changed configurations under load."""

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
    """Return the configuration file of the stack's HAProxy."""
    return stack.tree / "haproxy" / "haproxy.cfg"


def balancer(stack: Stack) -> haproxy.Balancer:
    """Return the running HAProxy of the stack."""
    return haproxy.Balancer(stack.container("haproxy"))


def reload(stack: Stack, code: int = 0) -> dict[str, Any]:
    """Run `stackctl reload`, assert its exit code, and return its JSON output."""
    done = stackctl(stack, "reload", "--json")
    assert done.returncode == code, done.stdout[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def another_header(stack: Stack, value: str) -> Iterator[None]:
    """Add a response header to the configuration during the block, without a reload."""
    line = f"    http-after-response set-header X-Reloaded {value}\n"
    with edited(config(stack), CHANGED, line + CHANGED):
        yield


@contextmanager
def restored_configuration(stack: Stack) -> Iterator[None]:
    """Reload the configuration of the tree after the block."""
    try:
        yield
    finally:
        reload(stack)


def header(stack: Stack) -> str | None:
    """Return the value of the added response header."""
    return stack.get("/profile/").headers.get("X-Reloaded")


def test_reload_of_haproxy_fails_no_request(loaded: Stack, load: Load, figures: Figures) -> None:
    first = balancer(loaded).workers().present
    with restored_configuration(loaded), load:
        load.warm_up()
        for value in ("one", "two", "three"):
            with another_header(loaded, value):
                result = reload(loaded)
            assert header(loaded) == value
            assert result["servers"] == {"server1": "ready", "server2": "ready"}
            # No process with the previous configuration is left.
            assert balancer(loaded).workers() == haproxy.HaproxyWorkers(result["worker"], ())

    figures.add("`stackctl reload` three times, each with a changed haproxy.cfg", "0 failed", load)
    check_nothing_lost(load, loaded)
    assert result["worker"] != first


def test_reload_keeps_a_drained_server_drained(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        assert stackctl(loaded, "drain", "server2").returncode == 0
        try:
            result = reload(loaded)
            after = balancer(loaded).servers()
            assert loaded.in_service() == {"set1"}
        finally:
            assert stackctl(loaded, "ready", "server2").returncode == 0

    figures.add("`stackctl reload` with a drained server", "0 failed; it stays drained", load)
    assert result["servers"] == {"server1": "ready", "server2": "drained"}
    assert (after["server1"].status, after["server2"].status) == ("UP", "DRAIN")
    # Static files are not served by it either.
    assert (after["server2"].answers, after["server2"].sessions) == (0, 0)
    check_nothing_lost(load, loaded)


def test_reload_without_stackctl_ignores_the_saved_server_state(loaded: Stack) -> None:
    """The state saved at the last reload, such as a drained server, may be outdated."""
    assert stackctl(loaded, "drain", "server2").returncode == 0
    reload(loaded)
    assert stackctl(loaded, "ready", "server2").returncode == 0
    former = balancer(loaded).workers().present

    balancer(loaded).master("reload")

    eventually(
        lambda: balancer(loaded).workers().present not in (0, former),
        seconds=30,
        what="a new HAProxy worker runs",
    )
    eventually(
        lambda: loaded.in_service() == {"set1", "set2"}, seconds=30, what="both are in service"
    )
    assert balancer(loaded).servers()["server2"].up


@pytest.mark.parametrize(
    ("change", "old", "new", "expected"),
    [
        (
            "a broken haproxy.cfg",
            "    balance leastconn",
            "    balance leastcon",
            "haproxy/haproxy.cfg:{number}",
        ),
        # HAProxy's own check accepts it, and a failed bind would refuse connections.
        (
            "an address that is not the container's",
            "    bind :8080",
            "    bind :8080\n    bind 192.0.2.1:8081",
            "bind 192.0.2.1:8081: Cannot assign requested address",
        ),
    ],
    ids=["syntax error", "address that cannot be bound"],
)
def test_reload_refuses_a_wrong_configuration(
    loaded: Stack, load: Load, figures: Figures, change: str, old: str, new: str, expected: str
) -> None:
    with restored_configuration(loaded), load:
        load.warm_up()
        with another_header(loaded, "before"):
            worker = reload(loaded)["worker"]
        number = 1 + config(loaded).read_text().splitlines().index(old)
        with edited(config(loaded), old, new):
            result = reload(loaded, code=1)
        assert header(loaded) == "before"
        assert balancer(loaded).workers().present == worker

    figures.add(f"`stackctl reload` with {change}", "0 failed; refused", load)
    assert expected.format(number=number) in result["next"]
    assert "nothing was changed" in result["error"]
    check_nothing_lost(load, loaded)
