"""Limits that the files of several servers must agree on.

Container tests fill no disk and no connection table, and run on kernels with IPv6.
"""

import re

import pytest

from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    compose_servers,
    dockerfile,
    health_check,
    limits,
    mounts,
    nginx_directives,
    nginx_value,
    services,
    text_of,
)

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

NGINX, BALANCER = "nginx/nginx.conf", "variants/nginx-balancer/nginx.conf"


def exposed(name: str) -> list[str]:
    """Return the EXPOSE lines of a Dockerfile."""
    return [text for instruction, text in dockerfile(name) if instruction == "EXPOSE"]


def test_nginx_listens_on_one_port_without_ipv6() -> None:
    listens = [
        item.arguments[0]
        for item in nginx_directives()
        if item.name == "listen" and "default_server" in item.arguments
    ]

    assert listens == [health_check("port")]
    for name in ("nginx/nginx.conf", "variants/nginx-balancer/nginx.conf"):
        assert "[" not in "".join(
            item.arguments[0] for item in nginx_directives(name) if item.name == "listen"
        )


def test_joined_dockerfile_exposes_the_nginx_port_once() -> None:
    assert exposed("Dockerfile.base") == []
    assert exposed("Dockerfile") == [health_check("port")]


@pytest.mark.parametrize(
    ("file", "service"),
    [*((NGINX, f"server{number}") for number in (1, 2, 3)), (BALANCER, "nginx-balancer")],
)
def test_nginx_buffers_long_bodies_on_a_private_volume(file: str, service: str) -> None:
    """A new volume takes over the owner and mode of the folder in the image."""
    folder = nginx_value("client_body_temp_path", name=file)
    made = [text for name, text in dockerfile("Dockerfile.base") if name == "RUN"][-1]

    assert folder.startswith("/srv/bodies/")
    assert mounts(services()[service])["/srv/bodies"] == "bodies"
    assert "install -d -o mysite -g mysite -m 0700 /srv/bodies" in made


def test_max_connections_of_databases_is_enough_for_every_process() -> None:
    """At the maximum of the contract; requests and tasks keep their connections open."""
    servers = len(compose_servers()) * (VARIABLES["WEB_CONCURRENCY"].maximum or 0)
    # Four more processes of the worker keep the task table and the metrics.
    worker_connections = (VARIABLES["WORKER_CONCURRENCY"].maximum or 0) + 4
    # Migrations and their lock, some commands, and connections reserved for the administrator.
    others = 20

    for name in ("mysql/conf.d/mysite.cnf", "variants/postgres/postgresql.conf"):
        (limit,) = re.findall(r"^max_connections = (\d+)$", text_of(name), re.MULTILINE)
        assert int(limit) >= servers + worker_connections + others, name


def test_body_limit_has_room_for_the_largest_upload_and_its_form() -> None:
    assert int(limits(UPLOAD_MAX_MB=37)["BODY_MAX_BYTES"]) == 38 * 2**20
