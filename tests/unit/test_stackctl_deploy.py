"""What a release refuses before it touches anything, and what it only warns of."""

from typing import Any

import pytest

from stackctl_cli import compose
from stackctl_cli.console import Console
from stackctl_cli.deploy import require_backing
from stackctl_cli.faults import StackctlError
from tests.unit.test_stackctl_parts import container

SERVICES: dict[str, Any] = {"db": {}, "redis": {}, "broker": {"scale": 0}, "server1": {}}


def project(monkeypatch: pytest.MonkeyPatch, *there: str, **services: Any) -> compose.Project:
    """Return a stack of which these services have containers, made of the present configuration."""
    containers = {name: container(service=name, config_hash=f"hash of {name}") for name in there}
    monkeypatch.setattr(compose.Project, "containers", lambda _: containers)
    monkeypatch.setattr(compose.Project, "config_hash", lambda _, name: f"hash of {name}")
    return compose.Project("p", "production", {"services": {**SERVICES, **services}})


def test_a_broker_that_was_never_started_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StackctlError, match="not there: broker;") as refused:
        require_backing(project(monkeypatch, "db", "redis", broker={}), Console(as_json=True))

    assert refused.value.cure.endswith("docker compose up --detach --wait --no-deps broker")


def test_what_is_switched_off_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_backing(project(monkeypatch, "db", "redis"), Console(as_json=True))

    assert capsys.readouterr().err == ""


def test_another_configuration_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = project(monkeypatch, "db", "redis")
    monkeypatch.setattr(compose.Project, "config_hash", lambda _, name: f"hash of {name[:2]}")

    require_backing(found, Console(as_json=True))

    said = capsys.readouterr().err
    assert "redis runs with another configuration" in said
    assert "up --detach --wait --no-deps redis" in said
    assert "db runs" not in said
