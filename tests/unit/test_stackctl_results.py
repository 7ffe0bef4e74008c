"""What each command prints, with and without `--json`."""

import json
import re
from functools import partial
from typing import Any

import pytest

from ops.environment.secret_files import CHANGED
from tests.unit.scripted.balancer import CHECK_SECONDS
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails, interrupts


def server(name: str, **facts: object) -> dict[str, object]:
    """Return a server as `status` describes it."""
    return {
        **{"server": name, "state": "ready", "release": "aaaa", "image": "sha256:aaaa"},
        **{"health": "healthy", "started": "-2600", "haproxy": "UP", "sessions": 0},
        **facts,
    }


def part(name: str, fact: str = "running, healthy") -> dict[str, object]:
    """Return a healthy part as `status` describes it."""
    return {"name": name, "ok": True, "fact": fact, "problem": "", "next": ""}


HEALTHY = {"status": "running", "health": "healthy"}
STACK: dict[str, Any] = {
    **{"project": NAME, "layer": "local", "running": True, "haproxy_silent": None, "code": 0},
    "servers": [server("server1"), server("server2")],
    "services": dict.fromkeys(("db", "haproxy", "redis", "worker"), HEALTHY),
}
PARTS = [
    part("haproxy"),
    *(part(name, "ready, release aaaa") for name in ("server1", "server2")),
    *(part(name) for name in ("worker", "db", "redis")),
]
DEPLOYED = {"project": NAME, "code": 0, "action": "deploy", "release": "bbbb", "changed": True}
RESULTS: dict[str, dict[str, Any]] = {
    "up": STACK,
    "status": {**STACK, "parts": PARTS, "busy": ""},
    "drain server1": {**server("server1", state="drained", haproxy="DRAIN"), "code": 0},
    "ready server1": {**server("server1"), "code": 0},
    "reload": {
        **{"project": NAME, "code": 0, "action": "reload", "worker": 9, "warnings": []},
        "servers": {"server1": "ready", "server2": "ready"},
        "other_container_wanted": False,
    },
    "deploy": {**DEPLOYED, "servers": {"server1": "bbbb", "server2": "bbbb"}},
    "rotate db": {"project": NAME, "code": 0, "rotated": ["DB_PASSWORD"]},
    "heal": {"project": NAME, "code": 0, "healed": [], "failed": [], "left_alone": {}},
    "down": {"project": NAME, "running": False, "volumes_removed": False},
}


@pytest.mark.parametrize(("command", "result"), RESULTS.items(), ids=RESULTS)
def test_command_prints_its_result_as_json(
    stack: Stack, command: str, result: dict[str, Any]
) -> None:
    stack.commit = "bbbb" if command == "deploy" else "aaaa"

    ended = stack.run(*command.split(), "--json")

    assert (ended.code, ended.result) == (0, result)


def test_rollback_prints_its_result_as_json(stack: Stack) -> None:
    stack.deploy("bbbb")

    ended = stack.run("rollback", "--json")

    servers = {"server1": "aaaa", "server2": "aaaa"}
    back = {"action": "rollback", "release": "aaaa", "servers": servers}
    assert (ended.code, ended.result) == (0, {**DEPLOYED, **back})
    assert stack.run("rollback", "aaaa", "--json").result["changed"] is False


def test_status_as_json_reports_missing_stopped_and_unreachable_parts(stack: Stack) -> None:
    stack.containers.pop("server1")
    stack.balancer.silent = "connection refused"
    stack.end("worker", 1)

    result = stack.run("status", "--json").result

    gone = dict.fromkeys(("release", "image", "health", "started", "haproxy", "sessions"))
    assert result["servers"] == [
        server("server1", state="stopped", **gone),
        server("server2", state="healthy", haproxy=None, sessions=None),
    ]
    assert result["haproxy_silent"].endswith("connection refused") and result["code"] == 1
    assert result["services"]["worker"]["status"] == "exited"
    parts = {row["name"]: row for row in result["parts"]}
    assert parts["server1"]["problem"] == "it has no container"
    assert parts["server2"]["fact"] == "healthy, release aaaa; HAProxy's view is not known"
    assert "docker compose restart haproxy interrupts" in parts["haproxy"]["next"]


def test_status_is_a_table_with_a_row_for_each_part(stack: Stack) -> None:
    stack.balancer.requests = {"server2": [stack.clock.now + 60.0]}
    for name in ("server1", "server2"):
        stack.containers[name].started = 100

    out = stack.run("status").out

    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines() if line.strip()]
    assert rows[0] == [f"{NAME} (local)"]
    assert rows[1] == ["service", "state", "release", "health", "HAProxy", "sessions", "since"]
    assert rows[3][:3] == ["haproxy", "running", "healthy"]
    assert rows[4] == ["server1", "ready", "aaaa", "healthy", "UP", "0", "100Z"]
    assert rows[5] == ["server2", "ready", "aaaa", "healthy", "UP", "1", "100Z"]
    assert [row[0] for row in rows[6:]] == ["worker", "db", "redis"]


def test_status_shows_done_for_a_certificates_service_that_ended_well(stack: Stack) -> None:
    stack.extra["certificates"] = {"image": "certificates"}
    stack.create("certificates")
    stack.end("certificates", 0, health="none")

    lines = stack.run("status").out.splitlines()

    (row,) = [re.split(r" {2,}", line.strip()) for line in lines if "certificates" in line]
    assert row[:3] == ["certificates", "done", "-"]


# Problems of a part, and the lines below the table.
PROBLEMS: dict[str, tuple[Any, str, str]] = {
    "unhealthy server": (
        lambda s: vars(s.containers["server1"]).update(
            health="unhealthy", output="trying\nno answer on port 7999\n\n"
        ),
        "server1: it is unhealthy: no answer on port 7999",
        "docker compose logs --tail 30 server1; ./stackctl heal restarts it",
    ),
    "unhealthy worker": (
        lambda s: setattr(s.containers["worker"], "health", "unhealthy"),
        "worker: it is unhealthy",
        "docker compose logs --tail 30 worker; ./stackctl heal restarts it",
    ),
    "unhealthy database": (
        lambda s: setattr(s.containers["db"], "health", "unhealthy"),
        "db: it is unhealthy",
        "docker compose logs --tail 30 db; docker compose restart db restarts it",
    ),
    "failed check": (
        lambda s: s.behave("aaaa", "server1", check="L4CON"),
        "server1: healthy; HAProxy says DOWN",
        "docker compose logs --tail 30 server1; ./stackctl up starts what has ended",
    ),
    "drained": (
        lambda s: s.balancer.command("set server dynamic_backend/server1 state drain"),
        "server1: drained; HAProxy says DRAIN",
        "./stackctl ready server1",
    ),
    "unknown": (
        lambda s: s.balancer.names.remove("server2"),
        "server2: healthy; HAProxy does not know it",
        "HAProxy runs with a former SERVER_COUNT or haproxy/haproxy.cfg. Recreate it: ",
    ),
    "busy": (
        lambda s: s.locks.update(
            {f"{NAME}-stackctl": {"command": "up", "who": "me", "since": "1", "process": "7"}}
        ),
        "`stackctl up` of me is running since 1 (process 7)",
        "",
    ),
}


@pytest.mark.parametrize(("change", "problem", "step"), PROBLEMS.values(), ids=PROBLEMS)
def test_status_lists_problems_and_next_steps_below_the_table(
    stack: Stack, change: Any, problem: str, step: str
) -> None:
    change(stack)

    ended = stack.run("status")

    assert ended.code == (1 if step else 0)
    lines = [line.strip() for line in ended.out.splitlines()]
    assert problem in lines
    assert not step or lines[lines.index(problem) + 1].startswith(step)


def test_status_of_a_stack_that_is_not_started(stack: Stack) -> None:
    stack.containers.clear()

    ended = stack.run("status")

    assert ended.code == 1 and ended.out == f"{NAME} is not started: ./stackctl up\n"


def test_ready_of_a_server_in_maintenance_waits_for_a_health_check(
    stack: Stack,
) -> None:
    stack.balancer.admin = {("dynamic_backend", "server1"): "maint"}
    moments: list[float] = []
    for step in ("drain server1", "ready server1"):
        stack.faults[step] = lambda: moments.append(stack.clock.now)

    assert stack.run("ready", "server1").code == 0

    assert len(moments) == 2 and moments[1] >= moments[0] + CHECK_SECONDS


def test_reload_requests_readyz_of_the_site_once(stack: Stack) -> None:
    asked: list[str] = []

    def answer(path: str) -> tuple[int, str]:
        asked.append(path)
        return 200, ""

    stack.visitors_get(answer)

    assert stack.run("reload").code == 0 and asked == ["/readyz"]
    assert stack.hosts == {"localhost"}


def test_reload_without_a_server_in_service_needs_no_response_of_the_site(stack: Stack) -> None:
    for name in ("server1", "server2"):
        stack.run("drain", name, "--force")
    stack.visitors_get(lambda _: (0, ""))

    assert stack.run("reload").code == 0


def test_reload_reports_warnings_of_haproxy(stack: Stack) -> None:
    stack.configuration_error = (
        "[NOTICE]   (9) : haproxy version is 3.0\n"
        "[WARNING]  (9) : config : parsing [/usr/local/etc/haproxy/haproxy.cfg:7] : no timeout\n"
    )

    ended = stack.run("reload", "--json")

    warning = "parsing [haproxy/haproxy.cfg:7] : no timeout"
    assert ended.code == 0 and ended.result["warnings"] == [warning]
    assert f"warning: HAProxy: {warning}" in ended.err and "NOTICE" not in ended.err


@pytest.mark.parametrize("step", ["lint migrations", "keep static bbbb", "migrate"])
def test_failed_step_shows_the_last_30_lines_of_its_program(stack: Stack, step: str) -> None:
    stack.data.migrations = {"bbbb": ["shop.0002"]}
    stack.faults[step] = fails("\n".join(f"line {number}" for number in range(40)))

    ended = stack.deploy("bbbb")

    assert ended.code != 0 and set(stack.releases().values()) == {"aaaa"}
    shown = [line for line in ended.err.splitlines() if re.fullmatch(r"    line \d+", line)]
    assert shown == [f"    line {number}" for number in range(10, 40)]


@pytest.mark.parametrize(("command", "state"), [("drain", "drain"), ("ready", "ready")])
def test_drain_and_ready_quote_a_refusal_of_haproxy(stack: Stack, command: str, state: str) -> None:
    stack.faults[f"{state} server1"] = lambda: Reply(out="Permission denied\n")

    ended = stack.run(command, "server1", "--json")

    assert ended.code == 1 and not stack.locks
    refused = f"HAProxy refused to set server1 to {state}: Permission denied"
    assert ended.result["error"] == refused
    assert ended.result["next"] == "`./stackctl status` shows the servers that it knows."


def test_rotate_of_a_stopped_stack_completes_the_change_in_dotenv(stack: Stack) -> None:
    (stack.root / ".env").write_text("LAYER=local\nDB_PASSWORD=by-hand\n")
    for service in ("server1", "server2", "worker"):
        stack.end(service, 0)

    ended = stack.run("rotate", "db", "--json")

    assert ended.code == 0 and ended.result == {**RESULTS["rotate db"], "rotated": []}
    assert stack.data.accepted["mysql.sh"] == ["by-hand"]
    assert "DB_PASSWORD: completing the change" in ended.err
    assert "./stackctl up starts the stack" in ended.err


@pytest.mark.parametrize("where", ["dotenv", "environment", "compose"])
def test_rotate_refuses_a_secret_that_comes_from_a_file(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    given = {"DB_PASSWORD_FILE": "/run/secrets/db"}
    if where == "dotenv":
        (stack.root / ".env").write_text("LAYER=local\nDB_PASSWORD_FILE=/run/secrets/db\n")
    if where == "environment":
        monkeypatch.setenv("DB_PASSWORD_FILE", "/run/secrets/db")
    if where == "compose":
        environment = {**stack.model()["services"]["server1"]["environment"], **given}
        stack.extra = {"server1": {"environment": environment}}

    ended = stack.run("rotate", "db", "--json")

    assert ended.code == 1
    assert ended.result["error"] == "DB_PASSWORD comes from DB_PASSWORD_FILE; nothing was changed"


def test_rotate_reports_a_failed_rollback(stack: Stack) -> None:
    stack.faults["recreate server1 aaaa"] = fails("port is taken")

    ended = stack.run("rotate", "db", "--json")

    assert ended.code == 1 and not stack.balancer.drained()
    assert "error: not back in service: compose could not start it" in ended.err
    assert ended.result["error"].startswith("not every server runs with the new secrets: ")
    assert "./stackctl rotate db completes it" in ended.result["next"]
    assert stack.record()[-1] == ("rotate db", "aaaa", "not rolled back")


def test_ready_quotes_a_limit_that_haproxy_refuses(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ready` sets the present limit again, which makes HAProxy check its queue."""
    command = stack.balancer.command
    monkeypatch.setattr(
        stack.balancer,
        "command",
        lambda line: "No such server.\n" if "maxconn" in line else command(line),
    )

    ended = stack.run("ready", "server1", "--json")

    refused = "HAProxy refused to set server1 to a limit of 2: No such server."
    assert (ended.code, ended.result["error"]) == (1, refused)


def test_deploy_of_the_running_release_with_a_changed_secret_recreates_every_server(
    stack: Stack,
) -> None:
    """Containers read copies of secret files at their start."""
    stack.environment_check = Reply(out=f"{CHANGED}DB_PASSWORD\n")

    assert stack.deploy("aaaa").result["changed"] is True

    recreated = [step for step in stack.steps if step.startswith("recreate")]
    assert recreated == [f"recreate {name} aaaa" for name in ("server1", "server2", "worker")]


def test_deploy_changes_nothing_when_env_check_of_the_new_image_fails(stack: Stack) -> None:
    stack.environment_check = Reply(1, err="SHOP_KEY: it is not set\n")

    ended = stack.deploy("bbbb")

    assert ended.code == 1 and stack.serves("aaaa")
    assert ended.result["error"] == "env-check refuses the environment; nothing was changed"
    assert ended.result["next"] == "SHOP_KEY: it is not set"


def test_up_removes_a_service_that_is_turned_off(stack: Stack) -> None:
    stack.extra = {"apache": {"image": "httpd:2.4"}}
    stack.create("apache")
    stack.extra = {}

    assert stack.run("up").code == 0 and "apache" not in stack.containers


def test_reload_is_refused_when_haproxy_could_not_bind(stack: Stack) -> None:
    """When a new process fails to bind, the present one stops listening for two seconds."""
    stack.binds = {"0.0.0.0 8080": "Address already in use"}

    ended = stack.run("reload", "--json")

    assert ended.code == 1 and "reload" not in stack.steps
    assert ended.result["error"].startswith("HAProxy could not listen where haproxy/haproxy.cfg")
    assert ended.result["next"] == (
        "bind 0.0.0.0:8080: Address already in use\nCorrect it, then: ./stackctl reload"
    )


def test_deploy_fails_when_the_request_inside_the_container_fails(stack: Stack) -> None:
    stack.faults["ask server1"] = fails("python3: not found", 127)

    ended = stack.deploy("bbbb")

    assert ended.code != 0
    assert "server1: its pages cannot be requested from inside its container" in ended.err


def watch(stack: Stack, *options: str) -> list[str]:
    """Return the lines of `status --watch` while server1 ends, until Ctrl-C."""
    stack.clock.plan(15, partial(stack.end, "server1"))
    stack.clock.plan(25, interrupts)
    ended = stack.run("status", "--watch", "--seconds", "10", *options)
    assert ended.code == 130 and stack.clock.now < 1040
    return ended.out.splitlines()


def test_status_watch_prints_a_line_each_time(stack: Stack) -> None:
    stack.behave("aaaa", log="out of luck")

    lines = watch(stack)

    well = "server1 ready aaaa, server2 ready aaaa"
    assert [line.partition(" ")[2] for line in lines] == [
        *(well, well),
        "server1 stopped aaaa, server2 ready aaaa; "
        "server1: it ended: exit code 137; its last line: out of luck",
    ]


def test_status_watch_as_json_prints_an_object_each_time(stack: Stack) -> None:
    *rounds, interrupted = map(json.loads, watch(stack, "--json"))

    assert [one["code"] for one in rounds] == [0, 0, 1]
    assert [one["servers"][0]["state"] for one in rounds] == ["ready", "ready", "stopped"]
    assert rounds[0] == RESULTS["status"]
    assert interrupted == {"error": "interrupted", "code": 130}


def test_status_watch_in_a_terminal_shows_the_table_again_each_time(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    shown = "\n".join(watch(stack))

    assert shown.count(f"{NAME} (local)") >= 3 and shown.count("it ended: exit code 137") >= 1
    assert "\x1b[32mready" in shown and "\x1b[31mstopped" in shown
