"""The Swarm stack that `./swarmctl` makes of the compose files."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.swarm import VALUES, config
from tools.swarmctl import docker_secrets
from tools.swarmctl.engine import Json
from tools.swarmctl.stack import stack_of


def stack(**variables: str) -> Json:
    """Return the stack of these variables, whose secrets are named as their variables."""
    given = config(**variables)
    values = docker_secrets.values_of(given)
    return stack_of(given, "shop:v2", {name: name for name in values})


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
