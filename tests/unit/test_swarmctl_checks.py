"""What `./swarmctl deploy` refuses, and its messages."""

import pytest

from tests.unit.swarm import VALUES, config
from tools.swarmctl import checks, cli, docker_secrets, engine
from tools.swarmctl.engine import Json, SwarmctlError
from tools.swarmctl.stack import stack_of

NODE = {"Spec": {"Availability": "active", "Labels": {"clone": "true"}}}
OTHER = {"Spec": {"Availability": "active", "Labels": {}}}


@pytest.mark.parametrize(
    ("nodes", "variables", "words"),
    [
        ([], VALUES, "0 machines have the label clone=true"),
        ([NODE, NODE], VALUES, "2 machines have the label clone=true"),
        ([NODE], {**VALUES, "DB_PASSWORD": ""}, "DB_PASSWORD is not set (required in production)"),
        ([NODE], {**VALUES, "HTTP_ADDRESS": "192.0.2.1"}, "HTTP_ADDRESS or HTTP_IPV6_ADDRESS"),
        ([NODE], {**VALUES, "HTTP_IPV6_ADDRESS": "[2001:db8::1]"}, "names one address"),
    ],
)
def test_deploy_names_what_swarm_would_not(
    nodes: list[Json], variables: dict[str, str], words: str
) -> None:
    given = config(**variables)
    with pytest.raises(SwarmctlError) as refused:
        checks.check(given, nodes, docker_secrets.values_of(given))
    assert words in str(refused.value)


def test_uploads_on_several_machines_need_a_bucket() -> None:
    nodes = [NODE, OTHER]
    values = {**VALUES, "SERVER_COUNT": "3"}
    with pytest.raises(SwarmctlError, match="AWS_STORAGE_BUCKET_NAME"):
        checks.check(config(**values), nodes, VALUES)

    checks.check(config(**values, AWS_STORAGE_BUCKET_NAME="shop-media"), nodes, VALUES)


@pytest.mark.parametrize(("machines", "count"), [(1, 2), (2, 3), (3, 2)])
def test_two_machines_need_three_servers(machines: int, count: int) -> None:
    values = {**VALUES, "AWS_STORAGE_BUCKET_NAME": "shop-media"}
    with pytest.raises(SwarmctlError, match="Set SERVER_COUNT=3"):
        checks.check(config(**values), [NODE, OTHER], VALUES)

    nodes = [NODE, *[OTHER] * (machines - 1)]
    checks.check(config(**values, SERVER_COUNT=f"{count}"), nodes, VALUES)


def test_address_for_all_visitors_by_ipv6_is_accepted_and_published_once() -> None:
    # `./manage.py env init` writes it on a machine with IPv6.
    given = config(**VALUES, HTTP_IPV6_ADDRESS="[::]")
    checks.check(given, [NODE], VALUES)

    ports = stack_of(given, "shop:v1", {})["services"]["haproxy"]["ports"]
    assert [port["target"] for port in ports] == [8080]


def test_only_active_machines_of_the_swarm_count(monkeypatch: pytest.MonkeyPatch) -> None:
    drained = {"Spec": {"Availability": "drain", "Labels": {}}}
    monkeypatch.setattr(engine, "docker", lambda *_: "true")
    monkeypatch.setattr(engine, "inspect", lambda *_: [NODE, drained])

    assert engine.active_nodes() == [NODE]


def test_deploy_on_a_machine_that_manages_no_swarm_names_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "docker", lambda *_: "false")

    assert cli.main(["deploy", "shop:v2"]) == 1
    assert "docker swarm init --advertise-addr ADDRESS" in capsys.readouterr().err


def test_interrupt_says_that_swarm_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deploy(image: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "deploy", deploy)
    assert cli.main(["deploy", "shop:v2"]) == 130
    assert "Swarm goes on with what it has begun" in capsys.readouterr().err
