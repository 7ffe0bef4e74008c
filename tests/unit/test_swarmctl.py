"""`./swarmctl`: the stack that it makes of the compose files, its secrets, and what it refuses."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit import config_files
from tools.swarmctl import checks, cli, docker_secrets, engine, rollout
from tools.swarmctl.engine import Json, SwarmctlError
from tools.swarmctl.stack import stack_of

NODE = {"Spec": {"Availability": "active", "Labels": {"clone": "true"}}}
VALUES = {"DB_PASSWORD": "one$two", "REDIS_PASSWORD": "three", "STATS_PASSWORD": "four"}


def config(**variables: str) -> Json:
    """Return what `docker compose config` prints with these variables."""
    return config_files.compose(LAYER="production", COMPOSE_FILE=engine.FILES, **variables)


def stack(**variables: str) -> Json:
    """Return the stack of these variables, whose secrets are named as their variables."""
    given = config(**variables)
    values = docker_secrets.values_of(given)
    return stack_of(given, "shop:v2", {name: name for name in values})


class Swarm:
    """Stands for the docker client, and keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the client."""
        self.nodes: list[Json] = [NODE]
        self.manages = "true"
        # Name and label of each secret, in the order in which they were created.
        self.secrets: list[str] = []
        self.given: list[str | None] = []
        for module in (checks, docker_secrets):
            monkeypatch.setattr(module, "docker", self.docker)
        monkeypatch.setattr(checks, "inspected", lambda kind, *names: self.nodes)

    def docker(self, *arguments: str, given: str | None = None) -> str:
        """Answer a command."""
        if arguments[:2] == ("secret", "create"):
            label, name = arguments[3:5]
            self.secrets.append(f"{name}\t{label.partition('=')[2]}")
            self.given.append(given)
        answers = {"info": self.manages, "secret": "\n".join(reversed(self.secrets))}
        return answers.get(arguments[0], "")


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch) -> Swarm:
    return Swarm(monkeypatch)


def test_stack_is_what_docker_stack_reads() -> None:
    if not shutil.which("docker"):
        pytest.skip("docker, which is not here, reads the stack")
    for variables in (VALUES, {**VALUES, "BROKER": "rabbitmq", "DB_ENGINE": "postgres"}):
        done = subprocess.run(
            ["docker", "stack", "config", "--compose-file", "-"],
            input=json.dumps(stack(**variables)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_stack_has_no_value_of_a_secret_and_each_reader_its_files() -> None:
    made = stack(**VALUES)

    text = json.dumps(made)
    assert not any(value.replace("$", "$$") in text or value in text for value in VALUES.values())
    readers = {
        name: {(item["target"], item["uid"], item["mode"]) for item in service["secrets"]}
        for name, service in made["services"].items()
    }
    application = {("DB_PASSWORD", "10001", 0o400), ("REDIS_PASSWORD", "10001", 0o400)}
    assert readers == {
        "server": application,
        "worker": application,
        "migrate": application,
        "db": {("DB_PASSWORD", "999", 0o400)},
        "redis": {("REDIS_PASSWORD", "999", 0o400)},
        "haproxy": {("STATS_PASSWORD", "99", 0o400)},
    }


def test_services_have_the_limits_and_mounts_of_one_machine() -> None:
    given, made = config(**VALUES), stack(**VALUES)

    for name, service in made["services"].items():
        one = given["services"][name]
        limits = service["deploy"]["resources"]["limits"]
        assert limits == {"memory": one["mem_limit"], "pids": one["pids_limit"]}
        assert service.get("read_only") == one.get("read_only")
        assert service["cap_drop"] == ["ALL"]
        folders = {mount["target"] for mount in service["volumes"]}
        wanted = {mount["target"] for mount in one.get("volumes", [])}
        wanted |= {text.partition(":")[0] for text in one.get("tmpfs", [])}
        assert wanted - folders == {"/run/secrets", "/srv/certificates"} & wanted
        assert service["deploy"]["endpoint_mode"] == "dnsrr"


def test_images_are_the_release_and_those_of_the_compose_files() -> None:
    images = {name: service["image"] for name, service in stack(**VALUES)["services"].items()}

    assert {images[name] for name in ("server", "worker", "migrate")} == {"shop:v2"}
    services = config(**VALUES)["services"]
    for name in ("haproxy", "db", "redis"):
        assert images[name] == services[name]["image"]


def test_services_with_files_of_the_clone_run_there_and_are_not_ended_when_unhealthy() -> None:
    services = stack(**VALUES)["services"]

    pinned = {name for name, service in services.items() if service["deploy"].get("placement")}
    assert pinned == {"haproxy", "db", "redis"}
    assert all(services[name]["healthcheck"] == {"disable": True} for name in pinned)


def test_ports_are_the_machines_own_and_the_stats_page_is_not_published() -> None:
    assert stack(**VALUES, HTTP_PORT="80")["services"]["haproxy"]["ports"] == [
        {"target": 8080, "published": 80, "mode": "host"}
    ]


@pytest.mark.parametrize(
    ("variables", "left_out"),
    [
        ({"DB_HOST": "db.example.com"}, "db"),
        ({"DATABASE_URL": "mysql://shop:word@db.example.com/shop"}, "db"),
        ({"REDIS_HOST": "redis.example.com"}, "redis"),
    ],
)
def test_server_of_your_own_takes_the_place_of_the_stacks(
    variables: dict[str, str], left_out: str
) -> None:
    assert set(stack(**VALUES)["services"]) - set(stack(**VALUES, **variables)["services"]) == {
        left_out
    }


def test_certificate_and_key_are_a_secret_of_haproxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "certs/x"
    folder.mkdir(parents=True)
    (folder / "fullchain.pem").write_text("chain\n")
    (folder / "privkey.pem").write_text("key\n")
    monkeypatch.setattr(docker_secrets, "ROOT", tmp_path)
    given = config(**VALUES, TLS_CERTIFICATE="certs/x")

    values = docker_secrets.values_of(given)
    assert values["TLS_CERTIFICATE"] == "chain\nkey"
    services = stack_of(given, "shop:v2", {name: name for name in values})["services"]
    assert {port["target"] for port in services["haproxy"]["ports"]} == {8080, 8443}
    holders = {
        name: item
        for name, service in services.items()
        for item in service["secrets"]
        if item["source"] == "TLS_CERTIFICATE"
    }
    assert holders == {
        "haproxy": {
            "source": "TLS_CERTIFICATE",
            "target": "/srv/certificates/site.pem",
            "uid": "99",
            "gid": "99",
            "mode": 0o400,
        }
    }


def test_secret_in_a_file_is_read_and_a_sample_is_none(tmp_path: Path) -> None:
    file = tmp_path / "word"
    file.write_text("from a file\n")

    assert docker_secrets.values_of(config(DB_PASSWORD_FILE=str(file))) == {
        "DB_PASSWORD": "from a file"
    }


def test_changed_secret_is_a_new_one_and_an_unchanged_one_is_kept(swarm: Swarm) -> None:
    names = docker_secrets.update("shop", VALUES)
    assert names["DB_PASSWORD"] == "shop.DB_PASSWORD"
    assert "one$two" in swarm.given
    created = list(swarm.secrets)

    assert docker_secrets.update("shop", VALUES) == names
    assert swarm.secrets == created
    changed = docker_secrets.update("shop", {**VALUES, "DB_PASSWORD": "other"})
    assert changed == {**names, "DB_PASSWORD": "shop.DB_PASSWORD.2"}
    assert docker_secrets.update("shop", VALUES)["DB_PASSWORD"] == "shop.DB_PASSWORD.3"


def test_secret_made_by_hand_is_used_as_it_is(swarm: Swarm) -> None:
    swarm.secrets = ["shop.SENTRY_DSN\t", "shop2.EMAIL_URL\t", "shop.TYPO\t", "other\t"]

    assert docker_secrets.update("shop", {}) == {
        "SENTRY_DSN": "shop.SENTRY_DSN",
        "DB_MIGRATION_PASSWORD": "shop.DB_MIGRATION_PASSWORD",
    }


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


def test_only_active_machines_of_the_swarm_count(swarm: Swarm) -> None:
    drained = {"Spec": {"Availability": "drain", "Labels": {}}}
    swarm.nodes = [NODE, drained]

    assert checks.nodes_of_the_swarm() == [NODE]


def test_deploy_on_a_machine_that_manages_no_swarm_names_the_next_step(
    swarm: Swarm, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm.manages = "false"

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


def task(state: str, wanted: str = "running", image: str = "shop:v2") -> Json:
    """Return a task as the engine describes it."""
    return {
        "ID": state,
        "Status": {"State": state, "Err": ""},
        "DesiredState": wanted,
        "Spec": {"ContainerSpec": {"Image": image, "DNSConfig": None}},
    }


def service(replicas: int = 1, **update: str) -> Json:
    """Return a service as the engine describes it."""
    return {
        "Spec": {
            "TaskTemplate": {"ContainerSpec": {"Image": "shop:v2", "DNSConfig": {}}},
            "Mode": {"Replicated": {"Replicas": replicas}},
        },
        "UpdateStatus": update,
    }


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Callable[[Json, list[Json]], bool]:
    """Return a function that says whether a service with these tasks is released."""

    def ask(given: Json, tasks: list[Json]) -> bool:
        monkeypatch.setattr(rollout, "inspected", lambda kind, name: [given])
        monkeypatch.setattr(rollout, "tasks_of", lambda name: tasks)
        monkeypatch.setattr(rollout, "show_logs", lambda tasks: None)
        return rollout._is_released("shop_server")

    return ask


@pytest.mark.parametrize(
    ("given", "tasks", "released"),
    [
        (service(), [task("running")], True),
        (service(), [task("starting")], False),
        (service(2), [task("running")], False),
        # Right after `docker stack deploy`, when no update has begun.
        (service(), [task("running", image="shop:v1")], False),
        (service(State="updating"), [task("running")], False),
        (service(State="completed"), [task("running"), task("shutdown", "shutdown")], True),
        # Failures of the past.
        (service(), [task("running"), *[task("failed", "shutdown")] * 3], True),
    ],
)
def test_service_is_released_when_all_its_containers_run_the_release(
    described: Callable[[Json, list[Json]], bool], given: Json, tasks: list[Json], released: bool
) -> None:
    assert described(given, tasks) is released


def test_rollback_by_swarm_has_the_exit_code_of_a_rollback(
    described: Callable[[Json, list[Json]], bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def deploy(image: str) -> None:
        described(service(State="rollback_completed", Message="rollback completed"), [])

    monkeypatch.setattr(cli, "deploy", deploy)
    assert cli.main(["deploy", "shop:v2"]) == 3
    assert capsys.readouterr().err == (
        "swarmctl: shop_server was not healthy (above): rollback completed\n"
    )


def test_service_that_never_starts_is_given_up(
    described: Callable[[Json, list[Json]], bool],
) -> None:
    with pytest.raises(SwarmctlError, match="does not start"):
        described(service(), [task("starting"), *[task("failed", "shutdown")] * 3])


def test_worker_that_fails_brings_back_the_former_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def wait(name: str) -> None:
        if name == "shop_worker":
            raise rollout.RolledBackError("no")

    given = {"name": "shop", "services": {}}
    made = {"services": {name: {"image": "x"} for name in ("server", "worker", "haproxy")}}
    monkeypatch.setattr(rollout, "nodes_of_the_swarm", list)
    monkeypatch.setattr(rollout, "compose_config", lambda: given)
    monkeypatch.setattr(rollout, "check", lambda *_: None)
    monkeypatch.setattr(rollout, "stack_of", lambda *_: made)
    for name in ("values_of", "latest", "update"):
        monkeypatch.setattr(docker_secrets, name, lambda *_: {})
    monkeypatch.setattr(rollout, "_apply", lambda name, stack, *services: ran.append(services))
    monkeypatch.setattr(rollout, "_wait_for_migrations", lambda name: None)
    monkeypatch.setattr(rollout, "_wait_for_release", wait)
    monkeypatch.setattr(rollout, "docker", lambda *arguments: ran.append(arguments))

    with pytest.raises(rollout.RolledBackError):
        rollout.deploy("shop:v2")
    assert ran == [
        rollout.BEFORE,
        ("server",),
        ("haproxy",),
        ("worker",),
        ("service", "rollback", "--quiet", "shop_server"),
        ("service", "rollback", "--quiet", "shop_haproxy"),
    ]
