"""Limits that several servers' files have to agree on.

Only here: container tests fill no disk, no table of connections, and run on kernels with IPv6.
"""

import re

import pytest

from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    compose_servers,
    dockerfile,
    health_port,
    limits,
    mounts,
    nginx_directives,
    nginx_value,
    services,
    text_of,
)

NGINX, BALANCER = "nginx/nginx.conf", "variants/nginx-balancer/nginx.conf"


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
    for name in ("nginx/nginx.conf", "variants/nginx-balancer/nginx.conf"):
        assert "[" not in "".join(
            item.arguments[0] for item in nginx_directives(name) if item.name == "listen"
        )


def test_the_joined_dockerfile_exposes_it_once() -> None:
    assert exposed("Dockerfile.base") == []
    assert exposed("Dockerfile") == [health_port()]


@pytest.mark.parametrize(
    ("file", "service"),
    [*((NGINX, f"server{number}") for number in (1, 2, 3)), (BALANCER, "nginx-balancer")],
)
def test_long_bodies_are_kept_on_a_volume_and_not_in_memory(file: str, service: str) -> None:
    """In a folder of the image that its user alone may write to, which a new volume takes over."""
    folder = nginx_value("client_body_temp_path", name=file)
    made = [text for name, text in dockerfile("Dockerfile.base") if name == "RUN"][-1]

    assert folder.startswith("/srv/bodies/")
    assert mounts(services()[service])["/srv/bodies"] == "bodies"
    assert "install -d -o mysite -g mysite -m 0700 /srv/bodies" in made


def test_the_databases_take_a_connection_of_every_process() -> None:
    """The most that the contract allows; requests and jobs leave theirs open for the next ones."""
    servers = len(compose_servers()) * (VARIABLES["WEB_CONCURRENCY"].maximum or 0)
    # The worker's own processes look after the table and the metrics.
    jobs = (VARIABLES["WORKER_CONCURRENCY"].maximum or 0) + 4
    # Migrations with their lock, a few commands, and what a server keeps for its administrator.
    others = 20

    for name in ("mysql/conf.d/mysite.cnf", "variants/postgres/postgresql.conf"):
        (limit,) = re.findall(r"^max_connections = (\d+)$", text_of(name), re.MULTILINE)
        assert int(limit) >= servers + jobs + others, name


def test_the_largest_body_has_room_for_the_largest_file_and_its_form() -> None:
    assert int(limits(UPLOAD_MAX_MB=37)["BODY_MAX_BYTES"]) == 38 * 2**20
