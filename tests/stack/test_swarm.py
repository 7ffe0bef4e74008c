"""`./swarmctl deploy`: the stack in a swarm of this one machine, and releases under load."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import READ_KEYS
from tests.chaos.load import Client, Load, repeated, unique_orders
from tests.chaos.release import both_on, releases_in_service
from tests.stack.compose import STACK_NAME, Stack, contains_secret, docker, secret_environment
from tests.waiting import eventually

# Containers that start while the engine is in a swarm lose their names when it leaves.
pytestmark = pytest.mark.alone

DOCKERFILE = """
FROM {base}
COPY loadtest /srv/project/loadtest
ENV DJANGO_SETTINGS_MODULE=loadtest.settings RELEASE={release}
{more}
"""
RELOAD = "docker kill --signal USR2 $(docker ps --quiet --filter name=mysite-production_haproxy)"
CHECK = (
    "docker exec $(docker ps --quiet --filter name=mysite-production_server | head -1) "
    "python manage.py check"
)
# /readyz of a server that always drains; less patience than for one that starts slowly.
NEVER_READY = """
USER root
RUN sed -i 's/if settings.DRAIN_FILE.exists():/if settings.DRAIN_FILE:/' ops/middleware.py
RUN rm -rf ops/__pycache__
USER 10001:10001
HEALTHCHECK --start-period=2s --retries=1 CMD ["/srv/project/supervisor/healthcheck"]
"""


class SwarmStack(Stack):
    """The production stack in the swarm of this engine."""

    def deploy(self, release: str, more: str = "") -> subprocess.CompletedProcess[str]:
        """Build an image of the load tests' app, and run ./swarmctl deploy with it."""
        name = f"{self.environment['STACK_NAME']}:{release}"
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", name, "--file", "-", "tests/chaos"],
            input=DOCKERFILE.format(base=self.image, release=release, more=more),
            cwd=self.tree,
            check=True,
            text=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        return subprocess.run(
            [sys.executable, "-m", "tools.swarmctl", "deploy", name],
            cwd=self.tree,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )

    def remove(self) -> None:
        """Remove the stack and its data."""
        label = f"label=com.docker.stack.namespace={self.project}"
        docker("stack", "rm", self.project)
        docker("kill", *docker("ps", "--quiet", "--filter", label).split())
        eventually(
            lambda: not docker("ps", "--all", "--quiet", "--filter", label),
            seconds=60,
            what="no container is left",
        )
        docker("volume", "rm", *docker("volume", "ls", "--quiet", "--filter", label).split())

    def typed(self, command: str, changes: Mapping[str, str] | None = None) -> str:
        """Run a command of docs/swarm.md on this stack."""
        return self.run_documented(command, {"mysite-production": self.project, **(changes or {})})

    def task(self, service: str) -> str:
        """Return a container of a service."""
        label = f"label=com.docker.swarm.service.name={self.project}_{service}"
        return docker("ps", "--quiet", "--filter", label).split()[0]

    def servers(self) -> set[str]:
        """Return the servers that answer, from enough requests."""
        return {self.profile()["server"] for _ in range(9)}


@pytest.fixture(scope="module")
def swarm() -> Iterator[None]:
    """Have this engine manage a swarm of its own."""
    state = docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if state != "inactive":
        pytest.skip(f"this engine belongs to a swarm ({state}), which tests leave alone")
    try:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no swarm can be initialised: {error.stderr}")
    try:
        docker("node", "update", "--label-add", "clone=true", docker("node", "ls", "--quiet"))
        yield
    finally:
        # It removes the containers, the overlay networks and the secrets.
        docker("swarm", "leave", "--force")
        with suppress(subprocess.CalledProcessError):
            docker("network", "rm", "docker_gwbridge")


@pytest.fixture(scope="module")
def stack(swarm: None, tree: Path, production_image: str) -> Iterator[SwarmStack]:
    """Deploy the first release."""
    stack = SwarmStack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        STACK_NAME=f"{STACK_NAME}-swarm",
        DB_WAIT_SECONDS="180",
        # All clients share one address.
        THROTTLE_ANON="off",
        **secret_environment(),
    )
    stack.image = production_image
    stack.project = f"{STACK_NAME}-swarm-production"
    # Swarm publishes ports on every address.
    del stack.environment["HTTP_ADDRESS"]
    try:
        done = stack.deploy("r1")
        assert done.returncode == 0, done.stdout
        yield stack
    finally:
        stack.remove()


def light_load(stack: SwarmStack, path: str) -> Load:
    """Return a load that a busy machine serves too: pages, writes and files, some 12 a second."""
    page, file = repeated("GET", "/profile/"), repeated("GET", path)
    clients = [
        Client(page(), interval=0.2),
        Client(page(), interval=0.5, keep_alive=False),
        Client(unique_orders(), interval=0.5),
        Client(unique_orders(), interval=1, keep_alive=False),
        Client(file(), interval=0.5),
    ]
    return Load(stack.http_port, clients)


@pytest.fixture
def load(stack: SwarmStack) -> Load:
    """Return a load with a static file."""
    static = stack.get("/status/").text.partition('href="/static/')[2].partition('"')[0]
    return light_load(stack, f"/static/{static}")


def test_deploy_to_a_swarm_fails_no_request_and_loses_no_write(
    stack: SwarmStack, load: Load
) -> None:
    with load:
        load.warm_up()
        done = stack.deploy("r2")
        assert done.returncode == 0, done.stdout
        assert releases_in_service(stack) == both_on("r2")
        stack.typed(RELOAD)
        stack.typed("docker service rollback mysite-production_server")
        load.wait_until_all_are_served()

    assert releases_in_service(stack) == both_on("r1")
    assert not load.failed, load.summary()
    rows = json.loads(docker("exec", stack.task("server"), "python", "-c", READ_KEYS))
    assert len(rows) == len(set(rows))
    assert load.acknowledged() <= set(rows)


def test_release_that_is_never_ready_is_rolled_back_and_fails_no_request(
    stack: SwarmStack, load: Load
) -> None:
    before = releases_in_service(stack)
    worker = stack.task("worker")
    with load:
        load.warm_up()
        done = stack.deploy("bad", NEVER_READY)
        load.wait_until_all_are_served()

    assert done.returncode == 3, done.stdout
    assert "rollback completed" in done.stdout
    assert releases_in_service(stack) == before
    assert stack.task("worker") == worker
    assert not load.failed, load.summary()


def test_commands_that_watch_show_the_services_and_their_logs(stack: SwarmStack) -> None:
    assert f"{stack.project}_server" in stack.typed("docker stack services mysite-production")
    assert "Running" in stack.typed("docker service ps mysite-production_server")
    logs = stack.typed("docker service logs --since 1h mysite-production_worker")
    assert "celery" in logs.lower()
    assert "no issues" in stack.typed(CHECK)


def test_added_server_gets_requests_and_a_removed_one_none(stack: SwarmStack) -> None:
    service = f"{stack.project}_server"
    with light_load(stack, "/livez") as load:
        load.warm_up()
        stack.typed("docker service scale mysite-production_server=4", {"=4": "=3"})
        eventually(
            lambda: stack.servers() == {"set1", "set2", "set3"}, seconds=30, what="all answer"
        )
        docker("service", "scale", f"{service}=2")
        eventually(lambda: len(stack.servers()) == 2, seconds=30, what="two answer")

    assert not load.failed, load.summary()


def test_secrets_are_in_no_description_and_containers_are_unprivileged(stack: SwarmStack) -> None:
    services = docker("stack", "services", "--quiet", stack.project).split()
    described = docker("service", "inspect", *services)
    for name in ("DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD", "STATS_PASSWORD"):
        assert not contains_secret(described, stack.environment[name]), name

    for service in ("server", "worker", "haproxy", "redis"):
        (container,) = json.loads(docker("inspect", stack.task(service)))
        assert container["Config"]["User"] not in ("", "0", "root") or service == "haproxy"
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["Memory"] > 0
        assert container["HostConfig"]["PidsLimit"] > 0
