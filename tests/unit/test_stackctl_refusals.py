"""What a release refuses and warns of before it touches anything, and where a rollback goes."""

from typing import Any

import pytest

from stackctl_cli import compose, engine, haproxy, record, refusals, release
from stackctl_cli.console import Console
from stackctl_cli.deploy import release_before
from stackctl_cli.faults import StackctlError
from tests.unit.test_stackctl_parts import container

SERVICES: dict[str, Any] = {
    **{"db": {}, "redis": {}, "broker": {"scale": 0}},
    "server1": {"image": "mysite-production"},
}


def project(monkeypatch: pytest.MonkeyPatch, *there: str, **services: Any) -> compose.Project:
    """Return a stack of which these services have containers, made of the present configuration."""
    environ = {"REDIS_USERNAME": "mysite"}
    containers = {
        name: container(service=name, config_hash=f"hash of {name}", environ=environ)
        for name in there
    }
    monkeypatch.setattr(compose.Project, "containers", lambda _: containers)
    monkeypatch.setattr(compose.Project, "config_hash", lambda _, name: f"hash of {name}")
    return compose.Project("p", "production", {"services": {**SERVICES, **services}})


def test_a_broker_that_was_never_started_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StackctlError, match="not there: broker;") as refused:
        refusals.require_backing(
            project(monkeypatch, "db", "redis", broker={}), Console(as_json=True)
        )

    assert refused.value.cure.endswith("docker compose up --detach --wait --no-deps broker")


def test_redis_of_an_earlier_release_is_recreated_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = project(monkeypatch, "db", "redis")
    found.containers()["redis"].environ.clear()

    with pytest.raises(StackctlError, match="nothing was changed") as refused:
        refusals.require_backing(found, Console(as_json=True))
    assert refused.value.cure.endswith("docker compose up --detach --wait --no-deps redis")

    # A Redis elsewhere has users of its own.
    url = {"environment": {"REDIS_URL": "redis://elsewhere"}}
    monkeypatch.setitem(SERVICES, "server1", {**SERVICES["server1"], **url})
    found = project(monkeypatch, "db", "redis")
    found.containers()["redis"].environ.clear()
    refusals.require_backing(found, Console(as_json=True))


def test_what_is_switched_off_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusals.require_backing(project(monkeypatch, "db", "redis"), Console(as_json=True))

    assert capsys.readouterr().err == ""


def test_another_configuration_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = project(monkeypatch, "db", "redis")
    monkeypatch.setattr(compose.Project, "config_hash", lambda _, name: f"hash of {name[:2]}")

    refusals.require_backing(found, Console(as_json=True))

    said = capsys.readouterr().err
    assert "redis runs with another configuration" in said
    assert "up --detach --wait --no-deps redis" in said
    assert "db runs" not in said


HAPROXY = {"ports": [{"target": 8080, "published": "8080", "host_ip": "127.0.0.1"}]}


def present_balancer(
    monkeypatch: pytest.MonkeyPatch, *, port: int = 8080, config_hash: str = "hash of haproxy"
) -> None:
    """Look at a HAProxy that publishes a port and sends requests to server1 and server3."""
    runs = container(service="haproxy", published=frozenset({port}), config_hash=config_hash)
    monkeypatch.setattr(engine, "inspect", lambda _: [runs])
    monkeypatch.setattr(engine, "containers", lambda *_: [runs])
    servers = {
        name: haproxy.Server(name, "UP", "L7OK", "10.0.0.1", 0, 0, 0, 0)
        for name in ("server1", "server3", "apache")
    }
    monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: servers)
    there = project(monkeypatch, haproxy=HAPROXY, server3={"scale": int(port == 8080)})
    refusals.require_present_balancer(there, haproxy.Balancer("h"), Console(as_json=True))


def test_a_haproxy_at_another_port_with_a_server_that_is_off_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the release would be looked for, and who would answer with the one before."""
    with pytest.raises(StackctlError) as refused:
        present_balancer(monkeypatch, port=9090)

    assert "does not publish port 8080" in refused.value.problem
    assert "sends requests to server3, which is switched off" in refused.value.problem
    assert "apache" not in refused.value.problem
    assert refused.value.cure.endswith("docker compose up --detach --no-deps haproxy")


def test_a_haproxy_with_another_configuration_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present_balancer(monkeypatch)
    assert capsys.readouterr().err == ""

    present_balancer(monkeypatch, config_hash="of an older one")
    assert "haproxy runs with another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("history", "present", "target"),
    [
        ("deploy A, deploy B", "BB", "A"),
        ("deploy A, deploy B, deploy C, rollback B", "BB", "A"),
        ("deploy A, deploy B, deploy C, rollback B, deploy D", "DD", "B"),
        ("deploy A, deploy B, deploy A", "AA", "B"),
        ("found A, deploy B!", "AB", "A"),
        ("deploy A, deploy B, rollback A!", "AB", "A"),
        ("deploy A, deploy B, deploy C!, rollback A!", "CA", "A"),
        # Everything ran C when it was cut off, or nothing yet.
        ("deploy A, deploy B, deploy C!", "CC", "B"),
        ("deploy A, deploy B, deploy C!", "BB", "B"),
        ("deploy A, deploy B, deploy C!, rollback B", "BB", "A"),
        # Nothing on record says how it came there.
        ("deploy A, deploy B", "XX", "B"),
    ],
)
def test_a_rollback_goes_one_step_back_and_never_forward(
    monkeypatch: pytest.MonkeyPatch, history: str, present: str, target: str
) -> None:
    entries = [
        record.Entry("", action, name[0], "", "interrupted" if "!" in name else "ok", "")
        for action, name in (step.split() for step in history.split(", "))
    ]
    monkeypatch.setattr(record, "read", lambda _: entries)
    monkeypatch.setattr(release, "available", lambda _: dict.fromkeys("ABCDX", "sha256:1"))
    stack = compose.Project("p", "production", {"services": {"server1": {}, "server2": {}}})
    monkeypatch.setattr(
        compose.Project,
        "containers",
        lambda _: {
            f"server{number}": container(environ={"RELEASE": name})
            for number, name in enumerate(present, start=1)
        },
    )

    assert release_before(stack) == target


def test_without_a_step_back_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "read", lambda _: [])
    monkeypatch.setattr(release, "available", lambda _: {"A": "sha256:1"})

    with pytest.raises(StackctlError, match="no earlier release"):
        release_before(project(monkeypatch, "server1"))
