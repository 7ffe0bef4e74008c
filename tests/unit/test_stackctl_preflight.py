"""The preflight checks of stackctl, with a fake `docker`."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest

from tests.packages import only
from tests.ports import free_port
from tests.tree import ROOT
from tests.unit.scripted.stack import Ended, run
from tools.stackctl.checks import ports, preflight
from tools.stackctl.docker.compose import Project, Published

GOOD = {
    "info": json.dumps({"ServerVersion": "28.1.0"}),
    "compose": "2.40.3",
    "buildx": "github.com/docker/buildx v0.29.1 x",
}


class Machine:
    """A machine with a fake docker client."""

    def __init__(self, folder: Path) -> None:
        """Set up a valid machine on which no stack runs."""
        self.folder = folder
        self.http_port, self.stats_port = free_port(), free_port()
        self.calls = folder / "calls"
        self.environ: dict[str, str] = {}
        self.docker()

    def docker(self, code: int = 0, errors: str = "", **answers: str) -> None:
        """Write the docker client with these outputs, and the exit code of `docker info`."""
        output = {**GOOD, **answers}
        program = self.folder / "docker"
        program.write_text(
            f"""#!/bin/sh
echo "$*" >>"{self.calls}"
case "$1 $2" in
"info "*) echo '{output["info"]}'; echo '{errors}' >&2; exit {code} ;;
"compose version") echo '{output["compose"]}' ;;
"compose config") echo '{json.dumps(self.model())}' ;;
"buildx version") [ -n '{output["buildx"]}' ] || exit 1; echo '{output["buildx"]}' ;;
esac
"""
        )
        program.chmod(0o755)

    def model(self) -> dict[str, Any]:
        """Return a compose project as `docker compose config` prints it."""
        published = {8080: self.http_port, 8888: self.stats_port}
        return {
            "name": "fake",
            "services": {
                "env-check": {"environment": {"DB_ENGINE": "mysql", **self.given()}},
                "server1": {"image": "fake-local"},
                "haproxy": {
                    "ports": [
                        {"host_ip": "127.0.0.1", "target": target, "published": str(port)}
                        for target, port in published.items()
                    ]
                },
            },
        }

    def given(self) -> dict[str, str]:
        """Return the variables that compose passes on, with its defaults."""
        servers = {"DB_HOST": "db", "DB_NAME": "x", "DB_USER": "x", "DB_PASSWORD": "a-password"}
        return {**servers, "BROKER_HOST": "broker", **self.environ}

    def variables(self) -> dict[str, str]:
        """Return the environment of stackctl, with only the fake docker in PATH."""
        return {"PATH": str(self.folder), "DJANGO_READ_DOTENV": "false", **self.environ}

    def run(self, *arguments: str) -> Ended:
        """Run stackctl."""
        with patch.dict(os.environ, self.variables(), clear=True):
            return run(arguments)

    def refused(self, *arguments: str) -> str:
        """Run stackctl, which must refuse and change nothing, and return its messages."""
        result = self.run(*arguments)
        assert result.code == 1, result
        calls = self.calls.read_text() if self.calls.exists() else ""
        assert not {"up", "build", "run", "tag", "exec"} & set(calls.split())
        return result.err


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def used_port() -> Iterator[int]:
    """Return a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_doctor_of_a_valid_machine_reports_no_fault(machine: Machine, tmp_path: Path) -> None:
    """With only the packages that ./stackctl installs."""
    packages = only("stackctl", tmp_path / "packages")
    result = subprocess.run(
        # -S: without the folders of installed packages.
        [sys.executable, "-S", "-m", "tools.stackctl", "doctor", "--json"],
        cwd=ROOT,
        env={**machine.variables(), "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    checks = json.loads(result.stdout)["checks"]
    assert {"engine", "compose", "buildx", "environment", "disk"} < {c["name"] for c in checks}
    assert all(check["ok"] for check in checks)


@pytest.mark.parametrize(
    "environ",
    [
        {"BROKER": "rabbitmq"},
        {"BROKER": "kafka"},
        {"CELERY_BROKER_URL": "confluentkafka://one:9092;confluentkafka://two:9092"},
        {"DATABASE_URL": "mysql://user:password@host:3306/name"},
        {"DB_ENGINE": "postgres"},
    ],
)
def test_preflight_needs_no_client_packages_of_the_image(
    machine: Machine, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("confluent_kafka", "environ", "django", "MySQLdb", "psycopg"):
        monkeypatch.setitem(sys.modules, package, None)
    machine.environ = environ
    machine.docker()

    for arguments in (("doctor",), ("env", "check")):
        result = machine.run(*arguments)
        assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("name", "meant"),
    [("DB_HOSTT", "DB_HOST"), ("BROKER_HSOT", "BROKER_HOST"), ("DB_PASSWROD", "DB_PASSWORD")],
)
def test_preflight_reports_a_misspelt_name_that_compose_would_ignore(
    machine: Machine, name: str, meant: str
) -> None:
    machine.environ = {name: "x"}
    machine.docker()

    output = machine.refused("doctor")

    assert f"{name}: it is not used" in output and f"Did you mean {meant}?" in output
    assert output.count(name) == 1


def test_preflight_accepts_a_secret_file_mounted_by_an_override_file(machine: Machine) -> None:
    """env-check sees the file; one named in .env must exist on this machine."""
    settings = {"LAYER": "production", "DJANGO_SECRET_KEY": "k3y-" * 5 + "0123456789" * 4}
    settings |= {"DJANGO_ALLOWED_HOSTS": "example.com", "REDIS_PASSWORD": "another"}
    settings |= {"REDIS_HOST": "redis", "STATS_PASSWORD": "a-third"}
    mounted = {"DB_PASSWORD": "", "DB_PASSWORD_FILE": "/run/secrets/db"}
    machine.environ = {**settings, **mounted}
    machine.docker()
    machine.environ = settings
    checks = machine.run("doctor", "--json").result["checks"]
    [row] = [check for check in checks if check["name"] == "environment"]
    assert row["ok"], row["next"]

    machine.environ = {**settings, **mounted}
    assert "DB_PASSWORD_FILE: /run/secrets/db cannot be read" in machine.refused("doctor")


def test_preflight_assumes_servers_of_the_stack_when_compose_is_too_old(
    machine: Machine,
) -> None:
    machine.environ = {"LAYER": "production", "BROKER": "rabbitmq"}
    machine.docker(compose="2.29.7")

    output = machine.refused("up")

    assert "BROKER_PASSWORD: it is not set" in output
    assert "BROKER_HOST" not in output and "REDIS_URL" not in output


def test_missing_docker_is_reported_by_every_command(machine: Machine) -> None:
    (machine.folder / "docker").unlink()

    for command in ("up", "deploy", "doctor", "status", "backup"):
        output = machine.refused(command)
        assert "Docker is not installed" in output
        assert preflight.engine.INSTALL in output


@pytest.mark.parametrize(
    ("errors", "says", "next_step"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            "the Docker daemon is not running",
            "systemctl start docker",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "this user may not talk to the Docker daemon",
            "usermod -aG docker",
        ),
    ],
)
def test_preflight_reports_an_engine_that_does_not_answer(
    machine: Machine, errors: str, says: str, next_step: str
) -> None:
    # The client prints its part, without a server version, and fails.
    machine.docker(code=1, errors=errors, info=json.dumps({"ServerErrors": [errors]}))

    output = machine.refused("up")

    assert says in output and next_step in output


def test_preflight_reports_all_faults_at_once(machine: Machine, used_port: int) -> None:
    machine.http_port = used_port
    machine.docker(info='{"ServerVersion": "20.10.24"}', compose="2.29.7", buildx="")
    machine.environ = {"DJANGO_DEBUG": "ture"}

    output = machine.refused("deploy")

    assert "Engine 20.10.24 is too old: 25 or newer" in output
    assert "Compose 2.29.7 is too old: 2.30 or newer" in output
    assert "Buildx plugin is missing" in output
    assert "Did you mean true?" in output
    # Only a supported compose can list the ports.
    assert "4 faults" in output and "DB_PASSWORD" not in output


@pytest.mark.parametrize(("version", "enough"), [("26.1.5", False), ("27.0.0", True)])
def test_preflight_refuses_ipv6_with_an_engine_that_cannot(
    machine: Machine, version: str, enough: bool
) -> None:
    machine.environ = {"HTTP_IPV6_ADDRESS": "[::1]"}
    machine.docker(info=json.dumps({"ServerVersion": version}))

    output = machine.refused("doctor") if not enough else machine.run("doctor").out

    assert (f"HTTP_IPV6_ADDRESS needs Engine 27 or newer, and this is {version}" in output) is (
        not enough
    )
    assert ("by IPv4 alone" in output) is not enough


def test_preflight_reports_a_used_port_and_suggests_another(
    machine: Machine, used_port: int
) -> None:
    machine.http_port = used_port
    machine.docker()

    output = machine.refused("up")

    assert f"port {used_port} is in use by another program" in output
    suggested = re.search(r"put HTTP_PORT=(\d+) into .env, then run \./stackctl up", output)
    assert suggested and ports.bind_error("127.0.0.1", int(suggested[1])) is None


def test_suggested_port_is_none_of_the_stack_and_the_command_is_the_one_that_was_run(
    machine: Machine, used_port: int
) -> None:
    """Nor a port of a part that is off, such as HTTPS without a certificate."""
    machine.http_port = used_port
    following = [used_port + step for step in (1, 2)]
    machine.environ = dict(zip(("STATS_PORT", "HTTPS_PORT"), map(str, following), strict=True))
    machine.docker()

    output = machine.refused("deploy")

    suggested = re.search(r"put HTTP_PORT=(\d+) into .env, then run \./stackctl deploy", output)
    assert suggested and int(suggested[1]) not in following


def test_preflight_of_a_misspelt_layer_reports_only_that(machine: Machine) -> None:
    machine.environ = {"LAYER": "prod"}

    output = machine.refused("up")

    assert "'prod' is not one of its values" in output
    assert "1 fault" in output and "DJANGO_SECRET_KEY" not in output


def test_preflight_reports_missing_and_weak_secrets_without_their_values(machine: Machine) -> None:
    machine.environ = {"LAYER": "production", "DJANGO_SECRET_KEY": "too-short-but-secret"}

    output = machine.refused("up")

    assert "DJANGO_SECRET_KEY: it is too weak" in output and "STATS_PASSWORD" in output
    assert "too-short-but-secret" not in output


def test_preflight_reports_low_disk_space(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "DISK_BYTES", 10**18)

    check = preflight._disk("")

    assert "are needed" in check.problem and "docker system df" in check.hint


@pytest.mark.parametrize("name", preflight.SAMPLES)
@pytest.mark.parametrize(("file", "folder"), [(0o640, 0o755), (0o644, 0o750)])
def test_preflight_reports_unreadable_files_of_a_clone_with_strict_umask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, file: int, folder: int
) -> None:
    for sample in preflight.SAMPLES:
        (tmp_path / sample).parent.mkdir(mode=0o755)
        (tmp_path / sample).touch(mode=0o644)
    monkeypatch.setattr(preflight.process, "ROOT", tmp_path)
    assert preflight._readable().ok

    (tmp_path / name).chmod(file)
    (tmp_path / name).parent.chmod(folder)

    check = preflight._readable()
    assert (check.name, check.hint) == ("project files", preflight.READABLE)
    assert check.problem.startswith(
        f"{name} cannot be read by other users (a umask of 027 or 077?)"
    )


def test_suggested_chmod_command_changes_only_files_tracked_by_git(tmp_path: Path) -> None:
    def sh(command: str) -> None:
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True)

    sh("umask 077; git init -q; mkdir -p a/b; touch a/b/c .env; git add a")
    sh("git -c user.name=x -c user.email=x@example.com commit -qm x")

    sh(preflight.READABLE)

    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c", ".env")
    }
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/c": 0o644, ".env": 0o600}


def publishing(*published: Published) -> Project:
    """Return a project that publishes ports and runs no container."""
    return Mock(Project, ports=lambda: published, containers=dict)


def test_two_used_ports_get_two_suggestions(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {4000: errno.EADDRINUSE, 4001: errno.EADDRINUSE}
    monkeypatch.setattr(ports, "bind_error", lambda _, port: used.get(port))
    project = publishing(
        Published("haproxy", "127.0.0.1", 4000, 8080),
        # The same by IPv6 gets the same.
        Published("haproxy", "[::1]", 4000, 8080),
        Published("haproxy", "127.0.0.1", 4001, 8888),
    )

    hints = [check.hint for check in ports.examine(project, "up", engine_answers=False)]

    assert re.findall(r"put (\w+=\d+)", " ".join(hints)) == [
        "HTTP_PORT=4002",
        "HTTP_PORT=4002",
        "STATS_PORT=4003",
    ]


def test_preflight_reports_an_address_of_another_machine() -> None:
    published = Published("haproxy", "192.0.2.1", free_port(), 8080)
    (check,) = ports.examine(publishing(published), "up", engine_answers=False)

    assert "cannot listen on 192.0.2.1" in check.problem and "HTTP_ADDRESS" in check.hint


def test_preflight_accepts_a_port_whose_last_user_has_just_ended() -> None:
    """The kernel keeps its closed connections for a minute (TIME_WAIT)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()

    published = Published("haproxy", "127.0.0.1", port, 8080)
    (check,) = ports.examine(publishing(published), "up", engine_answers=False)
    assert check.ok


def test_used_port_of_a_service_of_the_team_is_named_by_the_service(used_port: int) -> None:
    published = Published("search", "127.0.0.1", used_port, 9200)
    (check,) = ports.examine(publishing(published), "up", engine_answers=False)

    assert "`ports:` of search" in check.hint and "stackctl" not in check.hint


def test_stackctl_env_runs_the_environment_check(machine: Machine) -> None:
    machine.environ = {"DJANGO_DEBUG": "ture"}

    result = machine.run("env", "check", "--layer", "local")

    assert result.code == 1
    assert "Did you mean true?" in result.err


def test_wrong_usage_exits_with_2(machine: Machine) -> None:
    assert machine.run("deploy", "--nosuch").code == 2
    assert machine.run("nosuch").code == 2
