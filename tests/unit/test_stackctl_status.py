"""`doctor` and `status` report each faulty service, with the next step."""

import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console as RichConsole
from rich.console import RenderableType

from tests.unit.test_stackctl_parts import container
from tests.unit.test_stackctl_stack import KILLED, Machine
from tools.stackctl import cli, reports
from tools.stackctl.balancer import haproxy
from tools.stackctl.checks import parts, state
from tools.stackctl.checks.check import Check
from tools.stackctl.commands import stack
from tools.stackctl.common import process
from tools.stackctl.common.console import Console
from tools.stackctl.docker import address, compose, engine
from tools.stackctl.releases import refusals

STOPPED = {**KILLED, "exit_code": 0}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a healthy stack."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    machine = Machine(monkeypatch)
    once = {"restart_policy": "no", **STOPPED, "health": "none"}
    machine.containers["migrate"] = container(service="migrate", config_hash="present", **once)
    return machine


def status(machine: Machine) -> dict[str, Check]:
    """Return the rows of `status`."""
    return {check.name: check for check in parts.examine(state.glance(machine.project))}


def test_every_part_of_a_stack_has_a_row_in_doctor_and_status(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ["haproxy", "server1", "server2", "server3", "worker", "db"]

    result = reports.status(Console(), watch=False, seconds=1)

    assert [part["name"] for part in result["parts"]] == expected
    assert result["code"] == 0
    assert list(machine.checks()) == [*expected, "site"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.strip()][3:] == expected


@pytest.mark.parametrize("service", ["haproxy", "server1", "worker", "db"])
@pytest.mark.parametrize(
    ("facts", "problem", "hint"),
    [
        (STOPPED, "it is stopped: exit code 0; its last line: the last line", "./stackctl up"),
        ({**STOPPED, "exit_code": 143}, "it is stopped: exit code 143", "./stackctl up"),
        (KILLED, "it ended: exit code 137", "./stackctl up"),
        ({**KILLED, "out_of_memory": True}, "out of memory", "./stackctl up"),
        ({**STOPPED, "status": "created"}, "(created)", "./stackctl up"),
        ({**KILLED, "status": "dead"}, "(dead)", "docker rm --force"),
        ({"status": "paused"}, "it is paused", "docker compose unpause {}"),
        ({**KILLED, "status": "restarting", "restarts": 7}, "7 times", "logs --tail 30 {}"),
        ({"health": "unhealthy", "health_output": "no answer"}, "unhealthy: no answer", "logs"),
        ({"health": "starting", "restarts": 3}, "restarted 3 times", "logs --tail 30 {}"),
        ({"networks": frozenset({"project_other"})}, "network project_net", "--force-recreate {}"),
        ({"config_hash": "former"}, "changed: a compose file, or a variable", ""),
    ],
)
def test_each_fault_of_a_service_is_reported_with_its_next_step(
    machine: Machine, service: str, facts: dict[str, object], problem: str, hint: str
) -> None:
    networked = {"image": "fake-local", "networks": {"net": None}}
    model = {
        "name": "project",
        "services": {**machine.project.services, service: networked},
        "networks": {"net": {"name": "project_net"}},
    }
    machine.project = compose.Project("project", "local", model)
    machine.change_quietly(service, **{"networks": frozenset({"project_net"}), **facts})

    for rows in (status(machine), machine.checks()):
        assert problem in rows[service].problem
        assert rows[service].hint and hint.format(service) in rows[service].hint
        wrong = [name for name, row in rows.items() if not row.ok]
        assert wrong == [service]
    assert reports.status(Console(as_json=True), watch=False, seconds=1)["code"] == 1


def test_haproxy_is_not_recreated_in_a_new_network_before_the_servers(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The compose files have a network `front`, which the running stack does not."""
    services = {
        name: {**service, "networks": {"front": None}}
        for name, service in machine.project.services.items()
        if name in ("haproxy", "server1", "server2", "server3")
    }
    model = {
        "name": "project",
        "services": {**machine.project.services, **services},
        "networks": {"front": {"name": "project_front"}},
    }
    machine.project = compose.Project("project", "local", model)
    for name in services:
        machine.change_quietly(name, networks=frozenset({"project_edge"}), config_hash="former")
    recreate = "docker compose up --detach --no-deps haproxy"

    rows = status(machine)
    machine.up()

    assert rows["server2"].hint.startswith("./stackctl deploy brings")
    assert rows["haproxy"].hint.startswith(f"./stackctl deploy first, then {recreate}")
    assert machine.recreated is False
    assert f"./stackctl deploy first, then {recreate}" in capsys.readouterr().err

    monkeypatch.setattr(compose.Project, "site", lambda _: address.Site("", 80))
    machine.change_quietly("haproxy", published=frozenset({80}))
    refusals.require_present_balancer(
        machine.project,
        haproxy.Balancer("h"),
        machine.containers,
        machine.project.config_hashes(),
        Console(),
    )
    assert "./stackctl deploy first, then docker compose up" in capsys.readouterr().err
    for name in machine.project.servers:
        machine.change_quietly(name, networks=frozenset({"project_front"}), config_hash="present")
    assert status(machine)["haproxy"].hint.startswith("docker compose up --detach --no-deps --forc")


@pytest.mark.parametrize("service", ["server2", "db"])
def test_next_step_after_a_change_of_the_database_server_is_to_move_its_data(
    machine: Machine, service: str
) -> None:
    services = {**machine.project.services}
    services["server2"] = {**services["server2"], "environment": {"DB_ENGINE": "mysql"}}
    machine.project = compose.Project("project", "local", {"name": "project", "services": services})
    machine.change_quietly(
        service,
        environ={"DB_ENGINE": "postgres", "POSTGRES_DB": "shop"},
        config_hash="former",
    )

    assert "docs/update.md, Move to the other database" in status(machine)[service].hint


@pytest.mark.parametrize(
    ("service", "hint"),
    [
        ("server2", "./stackctl rotate db"),
        ("worker", "./stackctl rotate db"),
        ("haproxy", "docker compose up --detach --no-deps haproxy"),
        # Its volume keeps the former password, whatever its container is started with.
        ("db", "./stackctl rotate db"),
    ],
)
def test_changed_variables_are_named_without_their_values(
    machine: Machine, service: str, hint: str
) -> None:
    environment = {
        **{"SAME": "a$$b", "DB_PASSWORD": "new-secret", "ADDED": "1", "EMPTY": None},
        "MYSQL_DATABASE": "shop",
    }
    services = {**machine.project.services}
    services[service] = {**services[service], "environment": environment}
    machine.project = compose.Project("project", "local", {"name": "project", "services": services})
    environ = {"SAME": "a$b", "DB_PASSWORD": "old-secret", "RELEASE": "old"}
    environ["MYSQL_DATABASE"] = "shop"
    machine.change_quietly(service, environ=environ, config_hash="former")

    row = status(machine)[service]

    assert row.problem.endswith("changed: ADDED, DB_PASSWORD")
    assert hint in row.hint
    assert "secret" not in row.problem + row.hint


def test_service_without_a_container_is_reported(machine: Machine) -> None:
    del machine.containers["worker"]

    for rows in (status(machine), machine.checks()):
        assert (rows["worker"].problem, rows["worker"].hint) == (
            "it has no container",
            "./stackctl up",
        )


def test_running_server_that_is_switched_off_is_reported(machine: Machine) -> None:
    services = {**machine.project.services, "server3": {"image": "fake-local", "scale": 0}}
    machine.project = compose.Project("project", "local", {"name": "project", "services": services})

    assert "disable it" in status(machine)["server3"].problem
    machine.change("server3", **STOPPED)
    assert "server3" not in status(machine)


@pytest.mark.parametrize("service", ["migrate", "env-check", "certificates"])
def test_failed_one_shot_service_has_a_row_in_status(machine: Machine, service: str) -> None:
    once = {"restart_policy": "no", **STOPPED, "health": "none"}
    machine.containers[service] = container(id=service, service=service, **once)
    assert service not in status(machine)

    machine.change(service, exit_code=1)

    row = status(machine)[service]
    assert row.problem == "it failed: exit code 1; its last line: the last line"
    assert row.hint == f"docker compose logs --tail 30 {service}; correct that, then ./stackctl up"


def test_certificates_service_has_a_row_in_status_with_a_certificate(machine: Machine) -> None:
    services = {**machine.project.services, "certificates": {"image": "haproxy:3.0"}}
    machine.project = compose.Project("project", "local", {"name": "project", "services": services})

    assert status(machine)["certificates"].fact == "done at the last start"


def test_status_accepts_nginx_balancer_instead_of_haproxy(machine: Machine) -> None:
    del machine.containers["haproxy"]
    machine.balancer.clear()
    assert status(machine)["haproxy"].hint == "./stackctl up"

    machine.containers["nginx-balancer"] = container(service="nginx-balancer")

    rows = status(machine)
    assert rows["haproxy"].fact == "off; nginx-balancer replaces it"
    assert all(row.ok for row in rows.values())

    # Started from a configuration with nginx-balancer, which the present one lacks.
    machine.hashes["nginx-balancer"] = "another"
    assert "former configuration" in status(machine)["nginx-balancer"].problem


def test_status_of_a_stack_that_was_never_started_is_one_line(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.containers.clear()

    result = reports.status(Console(), watch=False, seconds=1)

    assert capsys.readouterr().out == "project is not started: ./stackctl up\n"
    assert result["code"] == 1
    (row,) = machine.checks().values()
    assert row.fact == "project is not started; next step: ./stackctl up"


def test_failed_site_check_names_the_service_that_is_down_or_the_port(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    balancer = container(service="haproxy", published=frozenset({8080}))
    monkeypatch.setattr(stack, "get", lambda *_: (503, ""))

    here = stack._site(machine.project, replace(balancer, published=frozenset({80})), well=False)
    elsewhere = stack._site(machine.project, balancer, well=True)

    assert here.problem == "/readyz on port 80 answers 503" and "./stackctl up" in here.hint
    assert "does not publish port 80" in elsewhere.problem
    assert "docker compose up --detach --no-deps haproxy" in elsewhere.hint


def rendered(shown: RenderableType, width: int) -> str:
    """Return the output of a terminal of this width."""
    console = RichConsole(file=io.StringIO(), width=width, force_terminal=False)
    console.print(shown)
    return console.file.getvalue()  # type: ignore[attr-defined]


def letters(text: str) -> Counter[str]:
    """Count the letters of a table, without line breaks."""
    return Counter(letter for letter in text if not letter.isspace() and letter != "─")


@pytest.mark.parametrize("width", [30, 40, 80, 10_000])
def test_status_table_truncates_no_name_at_any_width(machine: Machine, width: int) -> None:
    release = "2026-01-31.a-release-of-a-long-name-that-is-longer-than-a-column-is-wide"
    for name in machine.project.servers:
        machine.containers[name] = replace(machine.containers[name], environ={"RELEASE": release})
    machine.change("worker", **STOPPED)
    seen = state.glance(machine.project)
    checks = parts.examine(seen)

    whole, shown = (rendered(reports.shown(seen, checks), each) for each in (10_000, width))

    assert whole.count(release) == len(machine.project.servers)
    assert letters(shown) == letters(whole)
    assert max(map(len, shown.splitlines())) <= width


def test_status_watch_line_is_not_wrapped_in_a_narrow_terminal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reports.time, "sleep", interrupt)
    console = Console()
    console.out = RichConsole(file=io.StringIO(), width=30)

    with pytest.raises(KeyboardInterrupt):
        reports.watch_lines(console, machine.project, 1)
    (line,) = console.out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.endswith("server2 ready old, server3 ready old")


def test_project_name_option_sets_compose_project_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "of-dotenv")

    with pytest.raises(SystemExit) as ended:
        cli.main(["--project-name", "shop", "version"])
    assert (ended.value.code, os.environ["COMPOSE_PROJECT_NAME"]) == (0, "shop")


def test_output_to_a_pipe_is_not_wrapped(machine: Machine) -> None:
    assert Console().out.width == 10_000


def test_last_line_of_the_latest_health_check_is_parsed() -> None:
    log = [{"Output": "older"}, {"Output": "first\nERROR: no answer\n"}]

    assert engine._last_line(log) == "ERROR: no answer"
    assert engine._last_line(None) == engine._last_line([]) == ""


def test_next_step_after_a_change_of_the_password_of_postgres_is_to_rotate_it(
    machine: Machine,
) -> None:
    services = {**machine.project.services}
    given = {"POSTGRES_DB": "shop", "POSTGRES_PASSWORD": "new-secret"}
    services["db"] = {**services["db"], "image": "postgres:17", "environment": given}
    machine.project = compose.Project("project", "local", {"name": "project", "services": services})
    environ = {"POSTGRES_DB": "shop", "POSTGRES_PASSWORD": "old-secret"}
    machine.change_quietly("db", environ=environ, config_hash="former")

    assert status(machine)["db"].hint.startswith("./stackctl rotate db ")
