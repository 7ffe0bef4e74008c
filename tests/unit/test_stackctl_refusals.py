"""What a deploy refuses, and what it warns of, before it changes anything."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack


def drained(stack: Stack) -> None:
    stack.run("drain", "server2")


def changed(service: str, **facts: Any) -> Callable[[Stack], None]:
    """Return a function that changes a container."""

    def change(stack: Stack) -> None:
        for name, fact in facts.items():
            setattr(stack.containers[service], name, fact)

    return change


def ended_a_while_ago(stack: Stack) -> None:
    stack.end("server2")
    stack.clock.sleep(40)


BUSY = {"command": "up", "who": "me@here", "since": "noon", "process": "7"}
REFUSALS: dict[str, tuple[Callable[[Stack], object], str, str]] = {
    "drained": (drained, "not every server is in service", "./stackctl ready server2"),
    "in maintenance": (
        lambda s: s.balancer.admin.update({("dynamic_backend", "server2"): "maint"}),
        "not every server is in service",
        "server2 is drained (an earlier drain or release is unfinished): ./stackctl ready server2",
    ),
    "down": (
        changed("server2", status="exited"),
        "not every server is in service",
        "server2 is stopped, HAProxy says DOWN: docker compose logs --tail 30 server2",
    ),
    "down for a while": (
        ended_a_while_ago,
        "not every server is in service",
        "server2 is stopped, HAProxy says MAINT (resolution): docker compose logs",
    ),
    "unhealthy": (
        changed("server1", health="unhealthy"),
        "not every server is in service",
        "server1 is failed",
    ),
    "no stack": (lambda s: s.containers.clear(), "the stack is not running", "./stackctl up"),
    "no haproxy": (
        changed("haproxy", status="exited"),
        "the stack is not running",
        "./stackctl up",
    ),
    "silent": (
        lambda s: setattr(s.balancer, "silent", "no answer within 10 s"),
        "HAProxy's admin socket does not answer: no answer within 10 s",
        "docker compose logs haproxy",
    ),
    "unknown": (
        lambda s: s.balancer.names.remove("server2"),
        "not every server is in service",
        "HAProxy does not know server2",
    ),
    "another port": (
        changed("haproxy", port=1),
        "it does not publish port",
        "docker compose up --detach --no-deps haproxy",
    ),
    "no database": (
        lambda s: s.containers.pop("db"),
        "needs what is not running: db;",
        "docker compose up --detach --wait --no-deps db",
    ),
    "another database": (
        lambda s: s.containers["db"].environ.pop("MYSQL_DATABASE"),
        "the running database is not MySQL, which the present DB_ENGINE selects",
        "docs/update.md, Move to the other database",
    ),
    "old redis": (
        lambda s: s.containers["redis"].environ.pop("REDIS_USERNAME"),
        "redis' container is of an earlier release",
        "docker compose up --detach --wait --no-deps redis",
    ),
    "busy": (
        lambda s: s.locks.update({f"{NAME}-stackctl": BUSY}),
        "`stackctl deploy` was refused: `stackctl up` of me@here is running since noon",
        "./stackctl status",
    ),
    "another clone": (
        lambda s: s.volumes.update({f"{NAME}_stackctl": {"owner": "/elsewhere\n"}}),
        "belongs to the folder /elsewhere",
        "./stackctl adopt",
    ),
    "server that is off": (
        lambda s: s.extra.update(server2={"scale": 0}),
        "it sends requests to server2, which is disabled",
        "docker compose up --detach --no-deps haproxy",
    ),
    "password": (
        lambda s: s.data.accepted.update({"mysql.sh": ["another"]}),
        "nothing was done: 1 fault",
        "DB_PASSWORD: db refuses it",
    ),
}


@pytest.mark.parametrize(("change", "problem", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_deploy_is_refused_before_any_change(
    stack: Stack, change: Callable[[Stack], object], problem: str, hint: str
) -> None:
    change(stack)
    containers, images = dict(stack.containers), dict(stack.images)
    locks = dict(stack.locks)

    ended = stack.deploy("bbbb")

    assert (ended.code, ended.result["code"]) == (1, 1)
    assert problem in ended.result["error"] and hint in ended.result["next"]
    assert set(stack.steps) <= {"lock deploy", "write owner"}
    assert (stack.containers, stack.images) == (containers, images)
    assert stack.locks == locks


def test_deploy_refusal_lists_each_server_out_of_service(stack: Stack) -> None:
    stack.run("drain", "server2")
    changed("server1", status="exited")(stack)

    ended = stack.deploy("bbbb")

    first, second = ended.result["next"].splitlines()
    assert first.startswith("server1 is stopped, HAProxy says DOWN: docker compose logs")
    assert second.startswith("server2 is ") and second.endswith(": ./stackctl ready server2")
    assert ended.result["error"].endswith("in service; nothing was changed")


def test_deploy_ignores_a_server_that_is_switched_off(stack: Stack) -> None:
    stack.extra["server2"] = {"scale": 0}
    stack.end("server2", 0)

    assert stack.deploy("bbbb").code == 0


def test_deploy_ignores_a_broker_that_is_switched_off(stack: Stack) -> None:
    stack.extra["broker"] = {"image": "rabbitmq", "scale": 0}

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and "warning" not in ended.err


def test_deploy_with_an_external_redis_does_not_check_its_user(stack: Stack) -> None:
    (stack.root / ".env").write_text("LAYER=local\nREDIS_URL=redis://elsewhere\n")
    stack.containers["redis"].environ.pop("REDIS_USERNAME")

    assert stack.deploy("bbbb").code == 0


@pytest.mark.parametrize("service", ["db", "redis", "haproxy"])
def test_deploy_warns_of_another_configuration_and_does_not_recreate_the_service(
    stack: Stack, service: str
) -> None:
    stack.extra[service] = {"mem_limit": "1g"}

    ended = stack.deploy("bbbb")

    assert ended.code == 0
    assert f"warning: {service} runs with an outdated configuration" in ended.err
    assert f"docker compose up --detach --wait --no-deps {service}\n" in ended.err
    assert ended.err.count("outdated configuration") == 1
    assert f"recreate {service}" not in " ".join(stack.steps)


def test_deploy_does_not_count_a_rotated_password_as_another_configuration(stack: Stack) -> None:
    (stack.root / ".env").write_text("LAYER=local\nDB_PASSWORD=rotated\n")
    stack.data.accepted["mysql.sh"] = ["rotated"]

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and "outdated configuration" not in ended.err
