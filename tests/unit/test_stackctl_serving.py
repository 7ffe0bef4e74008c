"""`reload`, `drain`, `ready`, `up`, `down` and `adopt` from start to end."""

import signal
from collections.abc import Callable
from functools import partial

import pytest

from ops import VERSION
from ops.environment import dotenv
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE, NAME
from tests.unit.scripted.stack import Ended, Stack, fails, interrupts

RELOAD_STEPS = ["write state", "reload", "remove state"]
ALERT = (
    "Success=0\n--\n[ALERT]    (1) : Binding [/usr/local/etc/haproxy/haproxy.cfg:9] "
    "for frontend site: cannot bind socket (Address already in use).\n"
)


def reload(stack: Stack) -> Ended:
    return stack.run("reload", "--json")


def drain(stack: Stack, *options: str) -> Ended:
    return stack.run("drain", "server1", "--json", *options)


def test_reload_keeps_server_state_and_waits_for_the_former_process(stack: Stack) -> None:
    ended = reload(stack)

    assert ended.code == 0 and not stack.locks
    assert stack.steps == ["lock reload", "write owner", *RELOAD_STEPS]
    assert ended.result["worker"] == stack.balancer.pid == 9
    assert ended.result["servers"] == {"server1": "ready", "server2": "ready"}
    assert ended.result["other_container_wanted"] is False
    assert stack.clock.now >= 1003 and stack.state_file == ""


def test_reload_keeps_a_drained_server_drained(stack: Stack) -> None:
    drain(stack)

    assert reload(stack).result["servers"]["server1"] == "drained"
    assert stack.balancer.drained() == {"server1"}


def forget_drain(stack: Stack) -> None:
    """Drain a server, and lose that state in the new process."""
    drain(stack)
    stack.faults["remove state"] = lambda: stack.balancer.admin.clear()


def stop_answering(stack: Stack) -> Reply:
    stack.balancer.silent = "no answer"
    return Reply()


REFUSED: dict[str, tuple[Callable[[Stack], object], list[str], str, str]] = {
    "configuration": (
        lambda s: setattr(s, "configuration_error", "[ALERT]    (9) : config : unknown keyword"),
        [],
        "HAProxy refuses haproxy/haproxy.cfg; nothing was changed",
        "unknown keyword\nCorrect it, then: ./stackctl reload",
    ),
    "state": (
        lambda s: s.faults.update({"write state": fails("Read-only file system")}),
        RELOAD_STEPS[:1],
        "the servers' state cannot be kept; nothing was changed: ",
        "/var/lib/haproxy",
    ),
    "process": (
        lambda s: setattr(s.balancer, "reloads", ALERT),
        RELOAD_STEPS,
        "HAProxy could not start with the new configuration, although its syntax is valid",
        "Binding [haproxy/haproxy.cfg:9] for frontend site: cannot bind",
    ),
    "no answer": (
        lambda s: s.faults.update({"reload": lambda: Reply(out="Success=1\n")}),
        RELOAD_STEPS,
        "no new HAProxy process answers within 15 s of the reload",
        "The former process still serves.",
    ),
    "silent": (
        lambda s: s.faults.update({"reload": partial(stop_answering, s)}),
        RELOAD_STEPS,
        "HAProxy's admin socket does not answer",
        "haproxy",
    ),
    "server": (
        lambda s: s.faults.update({"reload": partial(s.behave, "aaaa", "server1", check="L4CON")}),
        RELOAD_STEPS,
        "the new configuration serves, but not every server has its former state",
        "server1 was in service, and HAProxy says DOWN, L4CON",
    ),
    "drain": (
        forget_drain,
        RELOAD_STEPS,
        "the new configuration serves, but not every server has its former state",
        "server1 was drained, and is in service: ./stackctl drain server1",
    ),
    "site": (
        lambda s: s.visitors_get(lambda _: (0, "")),
        RELOAD_STEPS,
        "the new configuration serves, but the site does not answer on port",
        "Undo the change and reload.",
    ),
    "down": (lambda s: s.end("haproxy"), [], "the stack is not running", "./stackctl up"),
}


@pytest.mark.parametrize(("change", "steps", "problem", "hint"), REFUSED.values(), ids=REFUSED)
def test_failed_reload_reports_which_configuration_serves(
    stack: Stack, change: Callable[[Stack], object], steps: list[str], problem: str, hint: str
) -> None:
    change(stack)

    ended = reload(stack)

    assert ended.code == 1 and ended.result["error"].startswith(problem)
    assert hint in ended.result["next"] and not stack.locks
    assert [s for s in stack.steps if "lock" not in s and "owner" not in s] == steps
    # A later start or reload would load it.
    assert stack.state_file == ""
    # The former process serves with its limits, unless it does not answer.
    assert set(stack.balancer.limits.values()) <= {2} or "answer" in problem


def test_reload_ends_when_interrupted_after_the_change(stack: Stack) -> None:
    stack.faults["remove state"] = interrupts

    ended = reload(stack)

    assert ended.code == 130 and stack.balancer.pid == 9
    assert ended.result["error"].startswith("interrupted; the new configuration serves")
    assert ended.result["next"] == "./stackctl status"


def test_reload_warns_of_a_former_process_that_stays(stack: Stack) -> None:
    stack.faults["remove state"] = lambda: stack.balancer.former.update({8: 9e9})

    ended = reload(stack)

    assert ended.code == 0 and "still there after 65 s: process 8" in ended.err


def test_reload_warns_that_container_changes_need_a_recreate(stack: Stack) -> None:
    stack.extra["haproxy"] = {"mem_limit": "1g"}

    ended = reload(stack)

    assert ended.code == 0 and ended.result["other_container_wanted"] is True
    assert "docker compose up --detach --no-deps haproxy applies the rest" in ended.err


def test_drain_waits_until_running_requests_have_ended(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 5.0]}

    ended = drain(stack)

    assert ended.code == 0 and ended.result["state"] == "drained"
    assert stack.steps == ["lock drain server1", "write owner", "drain server1"]
    assert stack.clock.now >= 1005.4 and stack.balancer.up() == ["server2"]
    assert "./stackctl ready server1 brings it back" in ended.err


def test_drain_waits_for_a_late_request(stack: Stack) -> None:
    late = {"server1": [stack.clock.now + 3.0]}
    stack.clock.plan(0.3, lambda: stack.balancer.requests.update(late))

    # It needs three checks without a request, 0.2 s apart.
    assert drain(stack).code == 0 and stack.clock.now >= 1003.4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_drain_returns_the_server_to_service(stack: Stack, number: int) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 20.0]}
    stack.clock.plan(2, partial(signal.raise_signal, number))

    ended = drain(stack)

    assert ended.code == 130
    assert ended.result["error"] == "interrupted; server1 is in service again"
    assert stack.balancer.up() == ["server1", "server2"] and not stack.locks


def test_drain_of_the_last_server_in_service_needs_force(stack: Stack) -> None:
    assert stack.run("drain", "server2").code == 0

    ended = drain(stack)
    assert ended.code == 1 and stack.balancer.up() == ["server1"]
    assert "server1 is the last server in service" in ended.result["error"]
    assert "./stackctl drain server1 --force" in ended.result["next"]

    assert drain(stack, "--force").code == 0 and stack.balancer.up() == []


def test_ready_returns_a_drained_server_to_service(stack: Stack) -> None:
    drain(stack)

    ended = stack.run("ready", "server1", "--json")

    assert ended.code == 0 and ended.result["state"] == "ready"
    assert stack.steps == ["lock ready server1", "ready server1"]


def test_ready_checks_a_server_in_maintenance_before_it_gets_requests(stack: Stack) -> None:
    stack.balancer.admin = {("dynamic_backend", "server1"): "maint"}

    assert stack.run("ready", "server1").code == 0
    assert stack.steps[-2:] == ["drain server1", "ready server1"]

    stack.balancer.admin = {("dynamic_backend", "server1"): "maint"}
    stack.containers["server1"].health = "unhealthy"
    ended = stack.run("ready", "server1", "--json")
    assert ended.code == 1 and "ready server1" not in stack.steps


def test_ready_fails_when_the_health_check_fails(stack: Stack) -> None:
    drain(stack)
    stack.containers["server1"].health = "unhealthy"
    before = stack.clock.now

    ended = stack.run("ready", "server1", "--json")

    assert ended.code == 1 and 15 <= stack.clock.now - before < 17
    assert ended.result["error"] == ("server1 does not come into service: HAProxy says DOWN, L7STS")
    assert "docker compose logs --tail 30 server1" in ended.result["next"]


@pytest.mark.parametrize("command", ["drain", "ready"])
def test_drain_and_ready_of_an_unknown_server_exit_with_2(stack: Stack, command: str) -> None:
    ended = stack.run(command, "server9", "--json")

    assert ended.code == 2 and stack.steps == []
    assert ended.result["next"] == "The servers: server1, server2."


def test_up_starts_the_stack_and_prints_the_url(stack: Stack) -> None:
    stack.containers.clear()

    ended = stack.run("up", "--json")

    assert ended.code == 0 and stack.serves("aaaa") and not stack.locks
    assert stack.steps == ["lock up", "write owner", "up", "write releases ok"]
    assert f"http://localhost:{stack.port}/" in ended.err and "warning" not in ended.err


@pytest.mark.parametrize("built", [True, False])
def test_up_builds_a_missing_image_and_records_the_start(stack: Stack, built: bool) -> None:
    stack.containers.clear()
    stack.images.clear()
    stack.commit = "bbbb"
    if not built:
        stack.faults["up"] = fails("dependency failed to start: server1 is unhealthy")

    ended = stack.run("up", "--json")

    assert stack.steps[2:5] == ["build bbbb", "name bbbb latest", "up"]
    if built:
        assert ended.code == 0 and stack.serves("bbbb")
        assert stack.record()[0] == ("up", "bbbb", "ok")
    else:
        assert ended.code == 1 and ended.result["error"] == "the stack did not start"
        assert "server1 is unhealthy" in ended.err
        assert stack.record() == [("up", "bbbb", "failed")]
        (entry,) = stack.run("releases", "--json").result["releases"]
        assert entry["note"] == "the stack did not start"


def test_up_names_services_that_did_not_start(stack: Stack) -> None:
    stack.behave("aaaa", log="KeyError: 'A'")
    stack.end("server1", 1)
    stack.containers["server2"].status = "created"
    stack.containers["db"].health = "none"
    stack.faults["up"] = fails("container server1 exited (1)")

    ended = stack.run("up", "--json")

    assert ended.code == 1
    first, *log = ended.result["next"].splitlines()
    assert first.startswith("server1 is exited, ") and "    KeyError: 'A'" in log
    assert all(line.startswith("    ") for line in log)


def test_up_names_a_password_that_a_server_refuses(stack: Stack) -> None:
    """The database was down before, so its password could not be checked."""

    def start() -> Reply | None:
        stack.data.accepted["mysql.sh"] = ["another"]
        return fails("container server1 is unhealthy")()

    stack.faults["up"] = start

    ended = stack.run("up", "--json")

    assert ended.code == 1 and ended.result["error"].startswith("DB_PASSWORD: db refuses it")
    assert "./stackctl rotate db" in ended.result["next"]


def test_down_keeps_data_unless_volumes_are_requested(stack: Stack) -> None:
    stack.deploy("bbbb")

    ended = stack.run("down", "--json")

    assert ended.code == 0 and ended.result["volumes_removed"] is False
    assert stack.steps == ["lock down", "down"] and stack.containers == {}
    assert stack.data.rows
    assert stack.record()[-1] == ("deploy", "bbbb", "ok")

    assert stack.run("down", "--volumes").code == 1 and stack.steps == []
    assert stack.run("down", "--volumes", "--yes").code == 0
    # The lock mounts the volume, so it must end first.
    assert stack.steps == [
        *("lock down", "down"),
        *(f"remove the volume {NAME}_{volume}" for volume in ("stackctl", "backup-cache")),
    ]
    assert stack.volumes == {}
    assert stack.data.rows == {}


def test_failed_down_keeps_the_record(stack: Stack) -> None:
    stack.deploy("bbbb")
    stack.faults["down"] = fails("network is in use")

    ended = stack.run("down", "--volumes", "--yes", "--json")

    assert ended.code == 1 and ended.result["error"] == "the stack did not stop"
    assert "network is in use" in ended.err and stack.record()


def test_version_prints_the_version_of_the_stack(stack: Stack) -> None:
    assert stack.run("version").out == f"{VERSION}\n"
    assert stack.run("version", "--json").result == {"version": VERSION}
    assert stack.steps == []


def test_adopt_makes_this_folder_the_owner_of_the_stack(stack: Stack) -> None:
    stack.volumes = {f"{NAME}_stackctl": {"owner": "/elsewhere\n"}}
    assert stack.run("up").code == 1

    ended = stack.run("adopt", "--json")

    assert ended.code == 0 and stack.steps == ["lock adopt", "write owner"]
    assert ended.result["before"] == "/elsewhere" and ended.result["folder"] == str(stack.root)
    assert "the running containers still mount /elsewhere" in ended.err
    assert stack.run("up").code == 0
    assert stack.images[f"{IMAGE}:latest"] == "sha256:aaaa"


def test_lock_whose_holder_never_started_is_removed(stack: Stack) -> None:
    """It was cut off between `create` and `start`: its container exists and does not run."""
    stack.locks = {f"{NAME}-stackctl": {}}
    removed_at: list[float] = []

    def remove() -> None:
        removed_at.append(stack.clock.now)
        stack.locks.clear()

    stack.faults["remove the lock"] = remove

    ended = drain(stack)

    assert ended.code == 0 and stack.steps[0] == "remove the lock"
    # A holder may need a moment between create and start.
    assert [round(moment) for moment in removed_at] == [1003]


def test_lock_that_the_engine_refuses_is_not_reported_as_busy(stack: Stack) -> None:
    stack.faults["lock drain server1"] = fails("no space left on device", 125)

    ended = drain(stack)

    assert ended.code == 1 and stack.balancer.up() == ["server1", "server2"]
    assert ended.result["error"] == "the stack's lock cannot be acquired: no space left on device"


def test_rotate_accepts_both_passwords_while_clients_are_recreated(stack: Stack) -> None:
    accepted: list[list[str]] = []
    for service in ("server1", "server2", "worker"):
        stack.faults[f"recreate {service} aaaa"] = lambda: accepted.append(
            list(stack.data.accepted["mysql.sh"])
        )

    ended = stack.run("rotate", "db", "--json")

    new = dotenv.read(stack.root / ".env").values["DB_PASSWORD"]
    assert ended.code == 0 and stack.serves("aaaa") and not stack.locks
    changes = [s for s in stack.steps if s.startswith(("accept", "retire", "recreate", "write re"))]
    assert changes == [
        *("write releases started", "retire password db", "accept password db"),
        *("recreate server1 aaaa", "recreate server2 aaaa", "recreate worker aaaa"),
        *("retire password db", "write releases ok"),
    ]
    assert accepted == [[new, "a-password"]] * 3
    assert stack.data.accepted["mysql.sh"] == [new]
    clients = ("server1", "server2", "worker")
    assert {stack.containers[name].environ["DB_PASSWORD"] for name in clients} == {new}
    assert new not in ended.out + ended.err + "".join(stack.calls)


def test_rotate_changes_nothing_when_the_server_refuses_the_new_password(stack: Stack) -> None:
    stack.faults["accept password db"] = fails("no space left on device")

    ended = stack.run("rotate", "db", "--json")

    assert ended.code == 1 and not any("recreate" in step for step in stack.steps)
    assert "the password of db cannot be changed: no space left" in ended.result["error"]
    assert ended.result["next"] == "docker compose logs --tail 30 db"
    assert dotenv.read(stack.root / ".env").values["DB_PASSWORD"] == "a-password"
    assert stack.data.accepted["mysql.sh"] == ["a-password"]


def test_doctor_requests_the_site(stack: Stack) -> None:
    ended = stack.run("doctor", "--json")

    rows = {row["name"]: row for row in ended.result["checks"]}
    assert ended.code == 0 and stack.steps == [], ended.err
    assert rows["site"]["fact"] == f"answers on port {stack.port}"
    assert rows["server1"]["fact"] == "ready, release aaaa"

    stack.visitors_get(lambda _: (503, ""))
    ended = stack.run("doctor", "--json")
    assert ended.code == 1 and f"/readyz on port {stack.port} answers 503" in ended.err


@pytest.mark.parametrize("command", ["drain", "ready"])
def test_server_that_haproxy_does_not_know_is_named(stack: Stack, command: str) -> None:
    stack.balancer.names = ["server1"]

    ended = stack.run(command, "server2", "--json")

    assert (ended.code, ended.result["error"]) == (1, "HAProxy does not know server2")
    assert "Recreate it: docker compose up --detach --no-deps haproxy" in ended.result["next"]
    assert stack.steps == [f"lock {command} server2", "write owner"]
