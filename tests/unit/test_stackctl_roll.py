"""What a release has to answer, and the way back, which is tried to its end."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stackctl_cli import compose, haproxy
from stackctl_cli.answers import HEALTH, down, wrong
from stackctl_cli.console import Console
from stackctl_cli.interrupt import Interrupt
from stackctl_cli.roll import Limits, Roll, ServerFailedError

CONTAINER = "c"


def health(**components: str) -> dict[str, Any]:
    """Return the answer of /healthz where these components are down, with these words."""
    lines = {name: {"status": "down", "error": error} for name, error in components.items()}
    body = {"status": "down", "components": {"database": {"status": "up"}, **lines}}
    return {"status": 503, "body": json.dumps(body)}


def make_roll(balance: str = "leastconn") -> Roll:
    """Return a move of two servers whose HAProxy cannot be asked."""
    services = {
        **{name: {"environment": {"PROFILE": f"set{name[-1]}"}} for name in ("server1", "server2")},
        "haproxy": {
            "environment": {"HAPROXY_BALANCE": balance},
            "ports": [{"target": 8080, "published": "80"}],
        },
    }
    project = compose.Project("p", "production", {"services": services})
    return Roll(project, haproxy.Balancer("b"), Console(as_json=True), Interrupt(), Limits())


def test_what_was_down_before_is_no_fault_of_a_release() -> None:
    answer = health(worker="no heartbeat")

    assert down(answer["body"]) == {"worker": "no heartbeat"}
    assert wrong(HEALTH, answer, "r", frozenset({"worker"})) == ""
    assert "worker (no heartbeat)" in wrong(HEALTH, answer, "r", frozenset({"broker"}))


@pytest.mark.parametrize(
    "answer",
    [health(), {"status": 503, "body": "<html>"}, {"status": 0, "body": ""}],
    ids=["down without a component", "no JSON", "no answer"],
)
def test_an_answer_that_names_no_component_is_a_fault(answer: dict[str, Any]) -> None:
    assert wrong(HEALTH, answer, "r", frozenset({"worker"}))


def test_the_way_back_is_tried_for_every_server_and_leaves_none_drained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried, ready = [], []

    def server(self: Roll, name: str, *_: object, back: bool) -> bool:
        tried.append((name, back))
        raise ServerFailedError(name, f"{name} fails")

    monkeypatch.setattr(Roll, "server", server)
    monkeypatch.setattr("stackctl_cli.engine.image_release", lambda _: "old")
    monkeypatch.setattr(haproxy.Balancer, "ready", lambda _, name: ready.append(name))
    roll = replace(make_roll(), before={"server1": "image", "server2": "image"})

    with pytest.raises(ServerFailedError, match="server2 fails"):
        roll.back()

    assert tried == [("server2", True), ("server1", True)]
    # Each before the next one is drained, and all at the end.
    assert ready[:2] == ["server2", "server1"]


@pytest.mark.parametrize(("balance", "enough"), [("source", True), ("leastconn", False)])
def test_where_haproxy_chooses_by_the_visitor_another_server_s_answer_is_enough(
    monkeypatch: pytest.MonkeyPatch, balance: str, enough: bool
) -> None:
    other = json.dumps({"server": "set2", "release": "old"})
    monkeypatch.setattr("stackctl_cli.roll.get", lambda *_: (200, other))
    monkeypatch.setattr("stackctl_cli.roll.READY_SECONDS", 0.2)
    monkeypatch.setattr("stackctl_cli.engine.last_lines", lambda _: "")
    roll = make_roll(balance)

    if enough:
        roll._wait_answer("server1", CONTAINER, "new")
    else:
        with pytest.raises(ServerFailedError, match="does not answer through HAProxy"):
            roll._wait_answer("server1", CONTAINER, "new")
