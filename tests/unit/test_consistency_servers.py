"""Limits that several servers' files have to agree on.

Only here: container tests fill no disk, no table of connections, and run on kernels with IPv6.
"""

import re

from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    compose,
    compose_servers,
    dockerfile,
    haproxy_sections,
    health_port,
    nginx_directives,
    nginx_value,
    text_of,
)

LAYERS = ("local", "dev", "production")
PROJECT = "/srv/project/"
BALANCER = "nginx-balancer/nginx.conf"


def exposed(name: str) -> list[str]:
    """Return what a Dockerfile's EXPOSE lines say."""
    return [text for instruction, text in dockerfile(name) if instruction == "EXPOSE"]


def test_nginx_listens_on_one_port_and_by_no_protocol_that_a_kernel_may_lack() -> None:
    listens = [
        item.arguments[0]
        for item in nginx_directives()
        if item.name == "listen" and "default_server" in item.arguments
    ]

    assert listens == [health_port()]
    for name in ("nginx/nginx.conf", "nginx-balancer/nginx.conf"):
        assert "[" not in "".join(
            item.arguments[0] for item in nginx_directives(name) if item.name == "listen"
        )


def test_the_joined_dockerfile_exposes_it_once() -> None:
    assert exposed("Dockerfile.base") == []
    assert exposed("Dockerfile") == [health_port()]


def test_the_bodies_that_are_kept_at_once_fit_where_they_are_kept() -> None:
    """The longest ones, in nginx alone, of each balancer's places for them."""
    limits = [
        line for line in haproxy_sections()["backend upload_backend"] if "maxconn" in line.split()
    ]
    haproxy = int(limits[0].split()[-1])
    other = int(nginx_value("limit_conn", name=BALANCER).split()[-1])
    folder = nginx_value("client_body_temp_path")

    assert folder.startswith("/tmp/")
    for server in compose_servers():
        assert (haproxy + other) * longest_body() <= tmp_bytes(server)


def test_the_bodies_that_the_other_balancer_keeps_fit_where_it_keeps_them() -> None:
    """The long ones, and with every other connection a body that just is none."""
    places = int(nginx_value("limit_conn", name=BALANCER).split()[-1])
    (digits,) = re.findall(r"\\d\{(\d+),\} \|chunked", text_of(BALANCER))
    small = int(nginx_value("worker_connections", name=BALANCER)) // 2

    assert nginx_value("client_body_temp_path", name=BALANCER).startswith("/tmp/")
    room = tmp_bytes("nginx-balancer")
    assert places * longest_body() + small * 10 ** (int(digits) - 1) <= room


def longest_body() -> int:
    """Return the longest body that is taken, in bytes."""
    return int(nginx_value("client_max_body_size").removesuffix("m")) * 2**20


def tmp_bytes(service: str) -> int:
    """Return how many bytes a service's /tmp holds."""
    mounts = [mount for mount in compose()["services"][service]["tmpfs"] if "/tmp:" in mount]
    size = re.search(r"size=(\d+)([mg])", mounts[0])
    assert size
    return int(size[1]) * {"m": 2**20, "g": 2**30}[size[2]]


def test_the_databases_take_a_connection_of_every_process() -> None:
    """The most that the contract allows; requests and jobs leave theirs open for the next ones."""
    servers = len(compose_servers()) * (VARIABLES["WEB_CONCURRENCY"].maximum or 0)
    # The worker's own processes look after the table and the metrics.
    jobs = (VARIABLES["WORKER_CONCURRENCY"].maximum or 0) + 4
    # Migrations with their lock, a few commands, and what a server keeps for its administrator.
    others = 20

    for name in ("mysql/conf.d/mysite.cnf", "postgres/postgresql.conf"):
        (limit,) = re.findall(r"^max_connections = (\d+)$", text_of(name), re.MULTILINE)
        assert int(limit) >= servers + jobs + others, name


def test_the_largest_body_has_room_for_the_largest_file_and_its_form() -> None:
    limit = nginx_value("client_max_body_size")
    largest = VARIABLES["UPLOAD_MAX_MB"].maximum

    assert largest
    assert limit == f"{largest + 1}m"


def test_nginx_and_apache_name_the_default_limit() -> None:
    default = VARIABLES["UPLOAD_MAX_MB"].default
    for script in ("nginx/start", "apache/start"):
        assert f"${{UPLOAD_MAX_MB:-{default}}}" in text_of(script)
