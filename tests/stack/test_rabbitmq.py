"""RabbitMQ instead of Redis as the broker: the same stack with BROKER=rabbitmq."""

import base64
import copy
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager  # remove_demo

import pytest

from demo.tests.images import make_image  # remove_demo
from ops.brokers.rabbitmq import CONFIRM_SECONDS  # remove_demo
from tests.stack import uploads  # remove_demo
from tests.stack.compose import SPECIAL_CHARACTERS, Stack, contains_secret, docker
from tests.stack.services import (
    components,
    start,  # remove_demo
    stopped,  # remove_demo
)
from tests.stack.test_privileges import check_unprivileged
from tests.tree import ROOT
from tests.waiting import eventually

APPLICATION = ("server1", "server2", "worker")
PASSWORD = f"{SPECIAL_CHARACTERS}/{secrets.token_urlsafe(8)}"
UPLOADS = 150  # remove_demo
# Sends a built-in task of Celery with a countdown; it does nothing here.
SEND_DELAYED_TASK = """
import django; django.setup()
from mysite.celery import app
app.send_task("celery.backend_cleanup", task_id={id!r}, countdown=2)
"""
# remove_demo: begin
PRINT_QUEUE_LENGTH = """
import django; django.setup()
from ops.celery import app
print(app.queue_length())
"""
# remove_demo: end


@pytest.fixture(scope="module")
def rabbitmq(production: Stack) -> Iterator[Stack]:
    """Start the production stack with BROKER=rabbitmq, and restore Redis afterwards."""
    stack = copy.copy(production)
    stack.environment = {
        **production.environment,
        "BROKER": "rabbitmq",
        "BROKER_PASSWORD": PASSWORD,
    }
    try:
        # The worker starts first, so that it has to wait.
        stack.compose("up", "--detach", "--no-deps", "worker")
        stack.compose("up", "--detach", "--wait", "--no-deps", "broker", *APPLICATION)
        stack.wait_for_both()
        yield stack
    finally:
        # Kill them, since the worker may be restarting with a refused password.
        stack.compose("kill", "worker", "broker")
        stack.compose("rm", "--force", "broker")
        docker("volume", "rm", "--force", f"{stack.project}_rabbitmq-data")
        production.compose("up", "--detach", "--wait", "--no-deps", *APPLICATION)
        production.wait_for_both()


# remove_demo: begin
@pytest.fixture
def user(rabbitmq: Stack) -> uploads.Uploader:
    """Create a user of the stack."""
    return uploads.Uploader(rabbitmq)


# remove_demo: end


def rabbitmqctl(stack: Stack, *command: str) -> str:
    """Run rabbitmqctl, which works only inside the container."""
    return stack.run_in("broker", "rabbitmqctl", "--quiet", *command).strip()


def queues(stack: Stack) -> dict[str, dict[str, object]]:
    """Return the queues of RabbitMQ by name."""
    output = rabbitmqctl(
        stack,
        *("--formatter", "json", "list_queues", "--vhost", "mysite"),
        *("name", "type", "messages", "durable"),
    )
    return {queue["name"]: queue for queue in json.loads(output)}


def test_worker_logs_that_it_waits_for_the_broker(rabbitmq: Stack) -> None:
    lines = [line for line in rabbitmq.logs("worker").splitlines() if "waiting for the" in line]

    assert lines and "waiting for the message broker amqp://broker:5672: " in lines[0]


def test_broker_variable_selects_rabbitmq_and_the_stack_is_healthy(rabbitmq: Stack) -> None:
    assert set(components(rabbitmq).values()) == {"up"}
    assert rabbitmq.inspect("broker", "{{.Config.Image}}") == "rabbitmq:4.0"
    queue = queues(rabbitmq)["celery"]
    assert (queue["type"], queue["durable"], queue["messages"]) == ("quorum", True, 0)
    listed = "docker compose exec broker rabbitmqctl list_queues --vhost mysite"
    assert "celery\t0" in rabbitmq.run_documented(listed)
    assert "Server startup complete" in rabbitmq.run_documented("docker compose logs broker")


def test_task_with_a_countdown_runs_after_its_delay(rabbitmq: Stack) -> None:
    task_id = f"later-{secrets.token_hex(4)}"
    started = time.monotonic()
    rabbitmq.python_in("server1", SEND_DELAYED_TASK.format(id=task_id))

    eventually(
        lambda: [line for line in rabbitmq.logs("worker").splitlines() if task_id in line],
        seconds=30,
        what="the task has run",
    )
    assert time.monotonic() - started >= 2
    log = rabbitmq.logs("worker")
    assert "Global QoS is disabled" in log
    assert "native delayed delivery" not in log, "its exchange does not allow it"


# remove_demo: begin
def test_upload_becomes_a_thumbnail(rabbitmq: Stack, user: uploads.Uploader) -> None:
    done = user.wait_until_done(user.upload()["id"], seconds=60)

    assert rabbitmq.get(done["thumbnail"]).status_code == 200


def test_killed_worker_loses_no_task(user: uploads.Uploader) -> None:
    uploads.check_killed_worker_loses_no_task(user)


def test_uploads_survive_a_killed_worker_and_broker(user: uploads.Uploader) -> None:
    taken = uploads.check_uploads_survive_kills(
        user, UPLOADS, 8, {"worker": 0.2, "broker": 0.5}, seconds=uploads.REDELIVERY_SECONDS
    )

    assert taken.codes == {201: UPLOADS}


def test_messages_survive_a_killed_broker_and_uploads_continue_without_it(
    rabbitmq: Stack, user: uploads.Uploader
) -> None:
    with stopped(rabbitmq, "worker"):
        sent = [user.upload()["id"] for _ in range(3)]
        docker("kill", "--signal", "KILL", rabbitmq.container("broker"))

        unsent = [user.upload()["id"] for _ in range(3)]
        states = components(rabbitmq)
        assert {name for name, state in states.items() if state == "down"} - {"worker"} == {
            "broker"
        }
        # Cache and counter are in Redis.
        assert rabbitmq.post("/api/hits/").status_code == 200
        start(rabbitmq, "broker")
        # Only the sent messages are queued, since no worker sends the others.
        assert rabbitmq.python_in("server1", PRINT_QUEUE_LENGTH).splitlines()[-1] == str(len(sent))
        assert {user.find(upload)["status"] for upload in sent + unsent} == {"queued"}
    user.wait_until_all_done(seconds=uploads.REDELIVERY_SECONDS)
    eventually(
        lambda: set(components(rabbitmq).values()) == {"up"},
        seconds=60,
        what="all components are up",
    )


@contextmanager
def blocked_by_memory(stack: Stack) -> Iterator[None]:
    """Make RabbitMQ block publishers during the block, as when its memory is full."""
    limit = ("set_vm_memory_high_watermark", "absolute")
    rabbitmqctl(stack, *limit, "1MB")
    try:
        yield
    finally:
        rabbitmqctl(stack, *limit, "512MB")


def test_blocked_broker_delays_uploads_only_briefly(
    rabbitmq: Stack, user: uploads.Uploader
) -> None:
    content = make_image()
    with blocked_by_memory(rabbitmq):
        for _ in range(2):
            started = time.monotonic()
            user.upload(content)
            # Allows for a busy machine; without a limit harakiri would end the request after 20 s.
            assert time.monotonic() - started < CONFIRM_SECONDS + 10
    user.wait_until_all_done(seconds=uploads.REDELIVERY_SECONDS)


# remove_demo: end


def test_application_user_has_only_its_own_virtual_host(rabbitmq: Stack) -> None:
    users = json.loads(rabbitmqctl(rabbitmq, "--formatter", "json", "list_users"))
    hosts = json.loads(rabbitmqctl(rabbitmq, "--formatter", "json", "list_vhosts", "name"))
    mays = json.loads(
        rabbitmqctl(rabbitmq, "--formatter", "json", "list_user_permissions", "mysite")
    )

    assert [(user["user"], user["tags"]) for user in users] == [("mysite", [])]
    assert [host["name"] for host in hosts] == ["mysite"]
    assert [may["vhost"] for may in mays] == ["mysite"]


def test_container_runs_unprivileged_and_publishes_no_port(rabbitmq: Stack) -> None:
    assert check_unprivileged(rabbitmq, "broker") == "999"
    assert json.loads(rabbitmq.inspect("broker", "{{json .HostConfig.PortBindings}}")) in (None, {})
    networks = json.loads(rabbitmq.inspect("broker", "{{json .NetworkSettings.Networks}}"))
    assert set(networks) == {f"{rabbitmq.project}_backend"}
    # Only the ports of clients and metrics listen on all addresses.
    listening = rabbitmq.run_in("broker", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    local = [line.split()[1] for line in listening.splitlines() if line.split()[3] == "0A"]
    outside = {int(end.split(":")[1], 16) for end in local if set(end.split(":")[0]) == {"0"}}
    assert outside <= {5672, 15692}


def test_broker_password_is_not_logged_and_a_refused_one_is_reported(rabbitmq: Stack) -> None:
    command = ("BROKER_PASSWORD=wrong-horse-battery", "timeout", "5", "./manage.py", "worker")
    refused = rabbitmq.compose("exec", "-T", "worker", "env", *command, check=False).stdout

    assert "waiting for the message broker amqp://broker:5672: " in refused
    assert "ACCESS_REFUSED" in refused
    assert "wrong-horse-battery" not in refused
    output = rabbitmq.logs("broker") + rabbitmq.logs("worker") + rabbitmq.logs("server1")
    output += rabbitmq.run_in("broker", "cat", "/run/rabbitmq/definitions.json")
    output += rabbitmq.run_in("broker", "sh", "-c", "cat /proc/[0-9]*/cmdline || true")
    assert not contains_secret(output, PASSWORD)


@pytest.mark.parametrize(("variable", "used"), [("former", "rotated"), ("by-hand", "by-hand")])
def test_rabbitmq_starts_with_rotated_password_until_variable_changes(
    variable: str, used: str
) -> None:
    """The volume has the hash of the former password, and that of the new one."""
    script = """
        echo 'printf %s "$0 $*"' >/tmp/docker-entrypoint.sh && chmod +x /tmp/docker-entrypoint.sh
        echo "$(printf former | sha256sum | cut -d ' ' -f 1) rotated" >/var/lib/rabbitmq/password
        PATH=/tmp:$PATH bash /usr/local/bin/start
        echo; cat /run/rabbitmq/definitions.json
    """
    folders = ("/run/rabbitmq", "/var/lib/rabbitmq", "/tmp:exec")
    start = ROOT / "variants/rabbitmq/start"
    program, _, definitions = docker(
        *("run", "--rm", "--network", "none", "--entrypoint", "sh"),
        *(word for folder in folders for word in ("--tmpfs", folder)),
        *("--volume", f"{start}:/usr/local/bin/start:ro", "--env", f"BROKER_PASSWORD={variable}"),
        *("rabbitmq:4.0", "-c", script),
    ).partition("\n")
    stored = json.loads(definitions)["users"][0]["password_hash"]

    assert program.endswith("docker-entrypoint.sh rabbitmq-server")
    if used == "rotated":
        assert stored == "rotated"
    else:
        salted = base64.b64decode(stored)
        assert salted[4:] == hashlib.sha256(salted[:4] + used.encode()).digest()


def test_changed_broker_password_applies_after_a_restart(rabbitmq: Stack) -> None:
    """A changed variable also replaces a rotated password, which the volume keeps.

    Must run last, since the servers still use the previous password.
    """
    rabbitmq.run_in("broker", "sh", "-c", "echo rotated | start password")
    rabbitmq.run_in("broker", "rabbitmqctl", "authenticate_user", "mysite", "rotated")

    rabbitmq.stop("broker")
    rabbitmq.compose(
        *("up", "--detach", "--wait", "--no-deps", "broker"),
        environment={"BROKER_PASSWORD": "another"},
    )

    # Fails with a non-zero exit code otherwise.
    rabbitmq.run_in("broker", "rabbitmqctl", "authenticate_user", "mysite", "another")
    assert queues(rabbitmq)["celery"]["type"] == "quorum"
