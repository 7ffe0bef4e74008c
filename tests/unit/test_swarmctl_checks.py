"""What `./swarmctl deploy` refuses, and its messages."""

import pytest

from tests.unit.swarm import VALUES, config
from tools.swarmctl import checks, cli, docker_secrets, engine
from tools.swarmctl.engine import Json, SwarmctlError

NODE = {"Spec": {"Availability": "active", "Labels": {"clone": "true"}}}


@pytest.mark.parametrize(
    ("nodes", "variables", "words"),
    [
        ([], VALUES, "0 machines have the label clone=true"),
        ([NODE, NODE], VALUES, "2 machines have the label clone=true"),
        ([NODE], {**VALUES, "DB_PASSWORD": ""}, "DB_PASSWORD is not set (required in production)"),
        ([NODE], {**VALUES, "HTTP_ADDRESS": "192.0.2.1"}, "HTTP_ADDRESS is set"),
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
    nodes = [NODE, {"Spec": {"Availability": "active", "Labels": {}}}]
    with pytest.raises(SwarmctlError, match="AWS_STORAGE_BUCKET_NAME"):
        checks.check(config(**VALUES), nodes, VALUES)

    checks.check(config(**VALUES, AWS_STORAGE_BUCKET_NAME="shop-media"), nodes, VALUES)


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
