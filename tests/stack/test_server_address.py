"""A recreated server gets its requests at its new address, from every backend of HAProxy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.stack.bench import Bench, container, start_upstream
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_trusted_proxies import haproxy
from tests.waiting import eventually
from tools.stackctl.balancer.haproxy import Balancer

ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
LONG_BODY = bytes(40_000)


@contextmanager
def address_occupied(bench: Bench) -> Iterator[None]:
    """Start a container, which gets the address that was freed last."""
    name = container("other")
    run = ("run", "--detach", "--name", name, "--network", bench.network, "--entrypoint", "sleep")
    docker(*run, f"{STACK_NAME}-base", "300")
    try:
        yield
    finally:
        docker("rm", "--force", name)


# Of each backend: a page, a slow one, a file and a long body.
REQUESTS: list[tuple[str, str, bytes | None]] = [
    *(("GET", "/who", None), ("GET", "/slow/who", None), ("GET", "/static/who", None)),
    ("POST", "/who", LONG_BODY),
]


def test_recreated_server_gets_requests_at_its_new_address(bench: Bench, tree: Path) -> None:
    start_upstream(tree, "server3")
    try:
        with haproxy("recreated", tree, SERVER_COUNT="3", SLOW_PATHS="/slow/") as port:

            def is_serving(method: str, path: str, body: bytes | None) -> bool:
                url = f"http://127.0.0.1:{port}{path}"
                answers = {requests.request(method, url, data=body, timeout=10) for _ in range(9)}
                return "server3" in {answer.text for answer in answers}

            def gets_all() -> bool:
                return all(is_serving(*request) for request in REQUESTS)

            eventually(gets_all, seconds=20, what="server3 gets requests")
            before = docker("inspect", "--format", ADDRESS, container("server3"))
            docker("rm", "--force", "--volumes", container("server3"))
            with address_occupied(bench):
                start_upstream(tree, "server3")
                assert docker("inspect", "--format", ADDRESS, container("server3")) != before
                eventually(gets_all, seconds=20, what="server3 gets requests at its new address")
    finally:
        docker("rm", "--force", "--volumes", container("server3"))


def test_server_that_restarts_with_the_address_of_its_former_container_gets_requests(
    bench: Bench, tree: Path
) -> None:
    """As a release does it: two containers have the name for a while, and the former one goes."""
    former, present = container("server3"), container("server3-of-the-release")
    alias = ("--network", bench.network, "--network-alias", "server3", "--stop-timeout", "1")
    upstream = ("-u", "tests/stack/upstream.py", "server3")
    project = ("--volume", f"{tree}:/srv/project:ro", "--workdir", "/srv/project")
    image = ("--entrypoint", "python3", f"{STACK_NAME}-base")
    start_upstream(tree, "server3")
    try:
        with haproxy("restarted", tree, SERVER_COUNT="3"):
            balancer = Balancer(container("restarted"))

            def is_served_at(address: str) -> bool:
                row = balancer.servers()["server3"]
                return row.up and row.address == address

            free = docker("inspect", "--format", ADDRESS, former)
            eventually(lambda: is_served_at(free), seconds=20, what="server3 is in service")
            docker("run", "--detach", "--name", present, *project, *alias, *image, *upstream)
            address = docker("inspect", "--format", ADDRESS, present)
            balancer.move("server3", address)
            eventually(lambda: is_served_at(address), seconds=20, what="the release serves")
            docker("rm", "--force", former)
            docker("restart", present)
            assert docker("inspect", "--format", ADDRESS, present) == free
            eventually(lambda: is_served_at(free), seconds=20, what="server3 is in service again")
    finally:
        docker("rm", "--force", "--volumes", former, present)
