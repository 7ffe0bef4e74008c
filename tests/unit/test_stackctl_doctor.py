"""`stackctl doctor`: each check with its fact, its problem and the next step."""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Stack
from tests.unit.test_stackctl_cut_off import Make, on_second_release
from tests.unit.test_stackctl_preflight import Machine
from tools.stackctl.checks import ports

Row = dict[str, Any]


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def doctor(machine: Machine | Stack) -> dict[str, Row]:
    """Return the rows by name."""
    return {row["name"]: row for row in machine.run("doctor", "--json").result["checks"]}


def ok_row(name: str, fact: str) -> Row:
    return {"name": name, "ok": True, "fact": fact, "problem": "", "next": ""}


def failed_row(name: str, problem: str, step: str) -> Row:
    return {"name": name, "ok": False, "fact": "", "problem": problem, "next": step}


def test_doctor_of_a_valid_machine_lists_each_check(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=2 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    ended = machine.run("doctor", "--json")

    assert ended.code == 0
    assert ended.result["checks"] == [
        ok_row("engine", "Engine 28.1.0"),
        ok_row("compose", "Compose 2.40.3"),
        ok_row("buildx", "Buildx v0.29.1"),
        ok_row("project files", "readable by the containers' users"),
        ok_row("environment", "valid for the local layer"),
        ok_row(f"port {machine.http_port}", "HTTP_PORT, free"),
        ok_row(f"port {machine.stats_port}", "STATS_PORT, free"),
        ok_row("disk", "2.0 GB free"),
        ok_row("stack", "fake is not started; next step: ./stackctl up"),
    ]


def test_doctor_without_docker_runs_the_other_checks(machine: Machine) -> None:
    (machine.folder / "docker").unlink()
    machine.environ = {"DJANGO_DEBUG": "ture"}

    checks = doctor(machine)

    assert list(checks) == ["docker", "environment", "disk"]
    assert checks["docker"] == failed_row(
        "docker",
        "Docker is not installed (there is no `docker` on the PATH)",
        "Install Docker Engine 25 or newer, or Docker Desktop: "
        "https://docs.docker.com/engine/install/",
    )
    assert checks["environment"]["problem"] == "not valid for the local layer: 1 fault"


UPGRADE = "Upgrade Docker: https://docs.docker.com/engine/install/"
PLUGIN = "Install the Compose plugin: https://docs.docker.com/compose/install/"


@pytest.mark.parametrize(
    ("program", "answer", "row"),
    [
        ("info", "25.0.0", ok_row("engine", "Engine 25.0.0")),
        ("info", "25", ok_row("engine", "Engine 25")),
        ("info", "100.1", ok_row("engine", "Engine 100.1")),
        (
            "info",
            "24.0.9",
            failed_row("engine", "Engine 24.0.9 is too old: 25 or newer is needed", UPGRADE),
        ),
        ("compose", "2.30.0", ok_row("compose", "Compose 2.30.0")),
        ("compose", "v2.30.3-desktop.1", ok_row("compose", "Compose v2.30.3-desktop.1")),
        ("compose", "3.0", ok_row("compose", "Compose 3.0")),
        (
            "compose",
            "2.29.9",
            failed_row("compose", "Compose 2.29.9 is too old: 2.30 or newer is needed", PLUGIN),
        ),
        ("buildx", "github.com/docker/buildx", ok_row("buildx", "Buildx")),
        (
            "buildx",
            "",
            failed_row(
                "buildx",
                "the Buildx plugin is missing, and images cannot be built without it",
                "Install it: https://github.com/docker/buildx#installing",
            ),
        ),
    ],
)
def test_doctor_requires_minimum_versions_of_docker(
    machine: Machine, program: str, answer: str, row: Row
) -> None:
    version = json.dumps({"ServerVersion": answer}) if program == "info" else answer
    machine.docker(0, "", **{program: version})

    assert doctor(machine)[row["name"]] == row


NO_DAEMON = (
    "Linux: sudo systemctl start docker. Docker Desktop: start the application. "
    "Elsewhere, DOCKER_HOST or `docker context ls` shows which one is used."
)


@pytest.mark.parametrize(
    ("errors", "problem", "step"),
    [
        ([], "the Docker daemon is not running", NO_DAEMON),
        (["no route", "more"], "the Docker daemon is not running (no route)", NO_DAEMON),
        (
            ["Permission denied: /var/run/docker.sock"],
            "this user may not talk to the Docker daemon (permission denied)",
            "sudo usermod -aG docker $USER, then log in again. "
            "The group docker is as good as root.",
        ),
        (
            ['context "x" not found'],
            'context "x" not found',
            "docker context use default",
        ),
        (["a host not found"], "the Docker daemon is not running (a host not found)", NO_DAEMON),
    ],
)
def test_doctor_reports_why_the_docker_engine_does_not_answer(
    machine: Machine, errors: list[str], problem: str, step: str
) -> None:
    machine.docker(code=1, info=json.dumps({"ServerErrors": errors}))

    assert doctor(machine)["engine"] == failed_row("engine", problem, step)


def test_doctor_reports_a_docker_daemon_that_fails(machine: Machine) -> None:
    machine.docker(code=1, errors="cannot connect", info="")
    assert "daemon is not running (cannot connect)" in doctor(machine)["engine"]["problem"]

    machine.docker(code=1, errors="cannot connect")
    assert not doctor(machine)["engine"]["ok"]


def test_doctor_reports_who_uses_a_port(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, used_port: int
) -> None:
    def rows() -> list[Row]:
        checks = stack.run("doctor", "--json").result["checks"]
        return [row for row in checks if row["name"].startswith("port ")]

    monkeypatch.setattr(ports, "bind_error", REAL_BIND_ERROR)
    assert rows() == [ok_row(f"port {stack.port}", "HTTP_PORT, held by this stack")]

    present = stack.model()["services"]["haproxy"]["ports"]
    other = {"host_ip": "127.0.0.1", "target": 8888, "published": str(used_port)}
    stack.extra["haproxy"] = {"ports": [*present, other]}
    name = f"port {used_port}"
    step = rows()[1]["next"]
    assert re.fullmatch(
        r"Choose another: put STATS_PORT=\d+ into .env, then run ./stackctl up", step
    )
    assert rows()[1] == failed_row(name, f"{name} is in use by another program", step)
    monkeypatch.setenv("STATS_PORT", "1")
    assert re.fullmatch(r"Choose another: STATS_PORT=\d+ ./stackctl up", rows()[1]["next"])
    monkeypatch.delenv("STATS_PORT")

    stack.publishes = {used_port: "blog-web-1"}
    assert rows()[1] == failed_row(name, f"{name} is in use by the container blog-web-1", step)

    # A stopped container of this stack uses no port, but another program may.
    stack.end("haproxy")
    stack.extra.clear()
    check = rows()[0]
    assert check["problem"] == f"port {stack.port} is in use by another program"


REAL_BIND_ERROR = ports.bind_error


@pytest.mark.parametrize(
    ("target", "variable"),
    [(8080, "HTTP_ADDRESS"), (8888, "HTTP_ADDRESS"), (7999, "DIRECT_ADDRESS")],
)
def test_doctor_reports_an_address_of_another_machine(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, target: int, variable: str
) -> None:
    monkeypatch.setattr(ports, "bind_error", REAL_BIND_ERROR)
    stack.end("haproxy")
    published = {"host_ip": "192.0.2.1", "target": target, "published": "4000"}
    stack.extra["haproxy"] = {"ports": [published]}

    check = doctor(stack)["port 4000"]

    name = ports.PORT_NAMES[target]
    assert check["problem"].startswith("cannot listen on 192.0.2.1:4000: Cannot assign")
    assert check["next"] == (
        f"{variable} must be an address of this machine; {name} sets the port."
    )


def test_privileged_port_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine runs as root."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        assert ports.bind_error("[::1]", port) and ports.bind_error("::1", port)
    assert ports.bind_error("[::1]", port) is None

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert ports.bind_error("127.0.0.1", 80) is None


@pytest.mark.parametrize(("root", "disk"), [("", "root"), ("/nosuch", "root"), ("data", "data")])
def test_doctor_checks_free_space_on_the_disk_of_the_engine(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, root: str, disk: str
) -> None:
    """Docker Desktop keeps its data in a virtual machine."""
    data = stack.root / "data"
    data.mkdir()
    free = {stack.root: 10**9, data: 5 * 10**8}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    stack.info["DockerRootDir"] = str(data) if root == "data" else root

    [check] = [r for r in stack.run("doctor", "--json").result["checks"] if r["name"] == "disk"]

    place, gigabytes = (data, "0.5") if disk == "data" else (stack.root, "1.0")
    assert check == failed_row(
        "disk",
        f"{gigabytes} GB free at {place}; 2 GB are needed",
        "`docker system df` shows what the engine holds; `docker builder prune` frees it.",
    )


@pytest.mark.parametrize(
    ("variable", "script", "service"),
    [("DB_PASSWORD", "mysql.sh", "db"), ("REDIS_PASSWORD", "redis.sh", "redis")],
)
def test_doctor_reports_a_password_that_its_server_refuses(
    stack: Stack, variable: str, script: str, service: str
) -> None:
    stack.data.accepted[script] = ["another"]

    checks = doctor(stack)

    what = {"db": "db", "redis": "redis"}[service]
    assert checks[variable] == failed_row(
        variable,
        f"{service} refuses it: the variable was changed, the password in the server was not",
        f"./stackctl rotate {what} sets the server's password to it; or restore the former value.",
    )
    # While the server is down, that is the only fault.
    stack.end(service)
    assert variable not in {row["name"] for row in stack.run("doctor", "--json").result["checks"]}


def test_doctor_quotes_an_error_in_the_compose_files(stack: Stack) -> None:
    stack.configuration_fault = "services.web: additional property 'imag' is not allowed"

    checks = doctor(stack)

    assert "additional property 'imag'" in checks["compose files"]["problem"]
    assert "site" not in checks


def test_missing_compose_file_is_reported_with_the_values_of_its_variable(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compose.2.yaml", "compose.3.yaml"):
        (stack.root / "variants/servers").mkdir(parents=True, exist_ok=True)
        (stack.root / "variants/servers" / name).touch()
    monkeypatch.setenv("SERVER_COUNT", "9")
    path = stack.root / "variants/servers/compose.9.yaml"
    stack.configuration_fault = f"open {path}: no such file or directory"

    assert stack.run("status", "--json").result["next"] == "Set SERVER_COUNT to one of: 2, 3."


@pytest.mark.parametrize(
    ("fault", "problem", "step"),
    [
        (
            """failed to read /srv/a b/.env: line 8: unterminated quoted value "hunter2""",
            "docker compose cannot read .env",
            "./manage.py env check names the line and the fault.",
        ),
        (
            'failed to read /srv/.env: Invalid template: "${hunter2"',
            "docker compose cannot read .env",
            "./manage.py env check names the line and the fault.",
        ),
        (
            "open variants/servers/compose.9.yaml: no such file or directory",
            "compose.9.yaml",
            "Check .env and the compose files.",
        ),
        ("Invalid hostPort: abc", "Invalid hostPort: abc", "Check .env and the compose files."),
    ],
    ids=["quote", "brace", "missing file", "port"],
)
def test_message_of_unreadable_compose_project_shows_no_secret_of_dotenv(
    stack: Stack, fault: str, problem: str, step: str
) -> None:
    stack.configuration_fault = fault

    ended = stack.run("status", "--json")

    assert ended.code == 1
    assert problem in ended.result["error"] and step in ended.result["next"]
    assert "hunter2" not in json.dumps(ended.result) + json.dumps(doctor(stack))


def test_deploy_lists_all_preflight_faults(stack: Stack) -> None:
    stack.data.accepted["mysql.sh"] = stack.data.accepted["redis.sh"] = ["another"]

    ended = stack.deploy("bbbb")

    assert ended.result["error"] == "nothing was done: 2 faults"
    lines = ended.result["next"].splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == ["DB_PASSWORD", "REDIS_PASSWORD"]
    assert all(line.startswith("    ./stackctl rotate ") for line in lines[1::2])


def test_doctor_prints_each_check_as_text(stack: Stack) -> None:
    stack.data.accepted["mysql.sh"] = ["another"]

    ended = stack.run("doctor")

    lines = [line.partition(" ")[2] for line in ended.err.splitlines()]
    assert ended.code == 1 and "engine: Engine 28.1.0" in lines
    assert any(line.startswith("error: DB_PASSWORD: db refuses it") for line in lines)
    assert "    ./stackctl rotate db sets" in ended.err


def test_doctor_without_an_engine_runs_the_other_checks(stack: Stack) -> None:
    """Client and plugins need no engine; the certificate check does."""
    plugins = ("docker compose", "docker buildx")
    stack.extra["certificates"] = {"environment": {"TLS_CERTIFICATE": "certs/localhost"}}

    def before(_: int) -> Reply | None:
        call = stack.calls[-1]
        return None if call.startswith(plugins) and " run " not in call else Reply(1, err="gone")

    stack.before = before

    checks = doctor(stack)

    assert [name for name, row in checks.items() if not row["ok"]] == ["engine"]
    assert checks[f"port {stack.port}"] == ok_row(f"port {stack.port}", "HTTP_PORT, free")
    assert list(checks)[-1] == "disk"


@pytest.mark.parametrize("where", ["dotenv", "environment"])
def test_doctor_and_up_report_environment_warnings(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "dotenv":
        (stack.root / ".env").write_text("LAYER=local\nDJANGO_SECURE_SSL_REDIRECT=true\n")
    else:
        monkeypatch.setenv("DJANGO_SECURE_SSL_REDIRECT", "true")
    name = "DJANGO_SECURE_SSL_REDIRECT"

    checks = doctor(stack)

    assert checks[name]["problem"].startswith(
        "every page redirects to https, but TLS_CERTIFICATE is not set"
    )
    assert checks[name]["next"].startswith("Set TLS_CERTIFICATE")
    assert f"warning: {name}: every page redirects" in stack.run("up").err


def test_environment_warnings_consider_the_variables_of_all_services(stack: Stack) -> None:
    """Only HAProxy receives TLS_CERTIFICATE, not the application."""
    text = "LAYER=local\nDJANGO_SECURE_SSL_REDIRECT=true\nTLS_CERTIFICATE=certs/site.pem\n"
    (stack.root / ".env").write_text(text)
    given = dict(stack.model()["services"]["server1"]["environment"])
    del given["TLS_CERTIFICATE"]
    stack.extra["env-check"] = {"environment": given}

    names = [row["name"] for row in stack.run("doctor", "--json").result["checks"]]

    assert "DJANGO_SECURE_SSL_REDIRECT" not in names


def test_doctor_reports_a_misspelt_name_in_dotenv(stack: Stack) -> None:
    """Compose does not pass on an unknown name."""
    (stack.root / ".env").write_text("LAYER=local\nBROKER_HSOT=elsewhere\n")

    checks = doctor(stack)

    assert checks["environment"]["problem"] == "not valid for the local layer: 1 fault"
    assert checks["environment"]["next"].startswith("BROKER_HSOT: it is not used")
    assert "Did you mean BROKER_HOST?" in checks["environment"]["next"]


@pytest.mark.parametrize(
    ("step", "drained", "releases"),
    [
        (13, {"server2"}, "server1 cccc, server2 bbbb, worker bbbb"),
        (18, set(), "server1 cccc, server2 cccc, worker bbbb"),
    ],
)
def test_doctor_reports_drained_server_and_different_releases_after_a_killed_deploy(
    scripted: Make, step: int, drained: set[str], releases: str
) -> None:
    stack = on_second_release(scripted)
    stack.cut_off("kill", step, partial(stack.deploy, "cccc"))

    ended = stack.run("doctor", "--json")

    bad = {row["name"]: row for row in ended.result["checks"] if not row["ok"]}
    assert ended.code == 1 and set(bad) == {"releases", *drained}
    assert all("drained" in bad[server]["problem"] for server in drained)
    assert releases in bad["releases"]["problem"]
    assert "./stackctl deploy resumes" in bad["releases"]["next"]
