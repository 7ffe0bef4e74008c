"""The proxies with the project's configuration, in front of two scripted upstream servers.

Without database and Django they start within seconds, and a test chooses the responses.
"""

import csv
import io
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import requests

from tests.ports import free_port
from tests.stack.compose import STACK_NAME, Stack, docker
from tests.waiting import eventually
from tools.stackctl.balancer.haproxy import CONFIG

NAME = f"{STACK_NAME}-bench"
SERVERS = ("server1", "server2")
# Different from all values in the files.
REQUEST_SECONDS, UPLOAD_MAX_MB, SLOW_REQUEST_SECONDS = 29, 37, 43
# The ports of the proxies; the stats page of HAProxy is published too.
PORTS = {"haproxy": 8080, "apache": 8002, "nginx-balancer": 8090, "nginx": 7999}
# The nginx of a server, and two scripted applications: of SLOW_PATHS, and of all other pages.
NGINX = """
python -u tests/stack/upstream.py application /run/mysite/app.sock &
python -u tests/stack/upstream.py slow /run/mysite/slow.sock &
exec /srv/project/nginx/start
"""


@dataclass(frozen=True)
class Bench:
    """The published port of each proxy."""

    ports: dict[str, int]

    def get(self, proxy: str, path: str, **options: Any) -> requests.Response:
        """Send a GET request to a proxy."""
        return self.request("GET", proxy, path, **options)

    def request(self, method: str, proxy: str, path: str, **options: Any) -> requests.Response:
        """Send a request to a proxy."""
        url = f"http://127.0.0.1:{self.ports[proxy]}{path}"
        return requests.request(method, url, **{"timeout": 50, **options})

    def states(self) -> set[str]:
        """Return the states of the servers in HAProxy."""
        rows = [row for row in self.rows() if row["svname"] in (*SERVERS, "apache")]
        return {row["status"] for row in rows}

    def uploads(self) -> int:
        """Return the number of long bodies that HAProxy is sending to servers."""
        rows = [row for row in self.rows() if row["pxname"] == "upload_backend"]
        return sum(int(row["scur"]) for row in rows if row["svname"] in SERVERS)

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of the stats page of HAProxy."""
        page = requests.get(self.stats, auth=("u", "p"), timeout=10)
        page.raise_for_status()
        return list(csv.DictReader(io.StringIO(page.text.lstrip("# "))))

    def wait_for_all(self) -> None:
        """Wait until every proxy answers, and balances between all servers."""
        for proxy in PORTS:
            eventually(partial(reaches_a_server, self, proxy), seconds=30, what=f"{proxy} answers")
        eventually(
            lambda: self.states() == {"UP"}, seconds=20, what="HAProxy marks all servers as up"
        )
        for proxy in ("apache", "nginx-balancer"):
            self.wait_until_balanced(proxy, *SERVERS)
        eventually(
            lambda: self.get("nginx-balancer", "/who").headers["Connection"] == "keep-alive",
            seconds=20,
            what="nginx-balancer keeps connections open again after a change of its servers",
        )

    def wait_until_balanced(self, proxy: str, *servers: str) -> None:
        """Wait until a proxy sends requests to exactly these servers."""
        eventually(
            lambda: {self.get(proxy, "/who").text for _ in range(9)} == {*servers},
            seconds=20,
            what=f"{proxy} uses {servers}",
        )

    @property
    def network(self) -> str:
        """The network of all containers."""
        return NAME

    @property
    def stats(self) -> str:
        """The URL of the stats page of HAProxy, as CSV."""
        return f"http://127.0.0.1:{self.ports['stats']}/stats;csv"

    def received(self, *servers: str) -> list[str]:
        """Return the request lines that the scripted servers received."""
        return [
            line
            for server in servers or SERVERS
            for line in docker("logs", container(server)).splitlines()
        ]

    def log(self, service: str) -> list[str]:
        """Return the log lines of a proxy."""
        return docker("logs", container(service)).splitlines()

    def errors(self, service: str) -> list[str]:
        """Return what a proxy has printed to standard error."""
        command = ["docker", "logs", container(service)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stderr.splitlines()

    def exec(self, server: str, *command: str) -> str:
        """Run a command in a container."""
        return docker("exec", container(server), *command)


def container(service: str) -> str:
    """Return the name of a container."""
    return f"{NAME}-{service}"


def run_bench(tree: Path) -> Iterator[Bench]:
    """Start all containers on their own network, and remove them at the end."""
    Stack(tree, "local").compose("build", "--quiet", "base")
    ports = {proxy: free_port() for proxy in (*PORTS, "stats")}
    run = partial(start, tree)
    published = {proxy: f"127.0.0.1:{ports[proxy]}:{port}" for proxy, port in PORTS.items()}
    user, run_mysite = ("--user", "10001:10001"), "/run/mysite:uid=10001,gid=10001"
    base = f"{STACK_NAME}-base"
    project = ("--volume", f"{tree}:/srv/project:ro", "--workdir", "/srv/project")
    limits = (
        "--env",
        f"REQUEST_SECONDS={REQUEST_SECONDS}",
        "--env",
        f"UPLOAD_MAX_MB={UPLOAD_MAX_MB}",
        *("--env", "SLOW_PATHS=/slow/", "--env", "SLOW_CONCURRENCY=1"),
        *("--env", f"SLOW_REQUEST_SECONDS={SLOW_REQUEST_SECONDS}"),
    )
    with ExitStack() as cleanup:
        with suppress(Exception):
            docker("network", "rm", NAME)
        docker("network", "create", NAME)
        cleanup.callback(docker, "network", "rm", NAME)
        services = (*SERVERS, "apache", "haproxy", "nginx-balancer", "nginx")
        cleanup.callback(docker, "rm", "--force", "--volumes", *map(container, services))
        for server in SERVERS:
            start_upstream(tree, server)
        run(
            "apache",
            *("--publish", published["apache"], "--tmpfs", "/run/apache:uid=10001,gid=10001"),
            *("--tmpfs", "/srv/kept/static", *user, *limits, "--env", "DRAIN_SECONDS=0"),
            *("--volume", f"{tree}/variants/apache:/etc/apache:ro"),
            *shared(tree),
            *("--volume", f"{tree}/variants/apache/nsswitch.conf:/etc/nsswitch.conf:ro"),
            *(f"--add-host={server}:127.0.0.1" for server in SERVERS),
            *("httpd:2.4", "/etc/apache/start"),
        )
        run(
            "haproxy",
            *("--publish", published["haproxy"], "--publish", f"127.0.0.1:{ports['stats']}:8888"),
            *(
                "--tmpfs",
                "/var/lib/haproxy:uid=99,gid=99",
                "--volume",
                f"{tree}/haproxy:/config:ro",
            ),
            *shared(tree),
            *("--env", "HAPROXY_BALANCE=roundrobin", "--env", "APACHE=1"),
            *("--env", "WEB_CONCURRENCY=2", "--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p"),
            *(*limits, "--entrypoint", "/config/start"),
            *(
                "haproxy:3.0",
                "docker-entrypoint.sh",
                "haproxy",
                "-f",
                f"/config/{CONFIG.rpartition('/')[2]}",
            ),
        )
        run(
            "nginx-balancer",
            *("--publish", published["nginx-balancer"], *user),
            *("--tmpfs", "/run/nginx-balancer:uid=10001,gid=10001"),
            *("--volume", f"{tree}/variants/nginx-balancer:/config:ro"),
            *shared(tree),
            *("--env", "SERVER_COUNT=2", *limits),
            *("--entrypoint", "/config/start", base),
        )
        run(
            "nginx",
            *("--publish", published["nginx"], *user, *project, "--tmpfs", run_mysite, *limits),
            *("--tmpfs", "/srv/kept/static", "--entrypoint", "sh", base, "-c", NGINX),
        )
        bench = Bench(ports)
        bench.wait_for_all()
        yield bench


def shared(tree: Path) -> tuple[str, ...]:
    """Return the mounts of every proxy: the error texts, and the limits."""
    paths = ("templates", "nginx/limits.sh")
    return tuple(word for path in paths for word in ("-v", f"{tree}/{path}:/srv/project/{path}:ro"))


def start(tree: Path, service: str, *arguments: str) -> None:
    """Start the container of a service."""
    options = ("--name", container(service), "--network", NAME, "--network-alias", service)
    docker("run", "--detach", *options, *arguments)


def start_upstream(tree: Path, name: str) -> None:
    """Start a scripted upstream server."""
    project = ("--volume", f"{tree}:/srv/project:ro", "--workdir", "/srv/project")
    script = ("-u", "tests/stack/upstream.py", name)
    start(tree, name, *project, "--entrypoint", "python3", f"{STACK_NAME}-base", *script)


def reaches_a_server(bench: Bench, proxy: str) -> bool:
    """Return whether a proxy reaches a server."""
    with suppress(HTTPException):
        return bench.get(proxy, "/readyz").status_code == 200
    return False
