"""The metrics' port and path, in every file that says them."""

import re

from ops.metrics import PATH, PORT
from tests.unit.config_files import (
    compose,
    dockerfile_environment,
    haproxy_sections,
    nginx_directives,
    text_of,
)

FILES = ("docker-compose.yaml", "docker-compose.layers.yaml")


def test_nginx_s_server_for_metrics_is_on_the_port() -> None:
    listens = [item.arguments[0] for item in nginx_directives() if item.name == "listen"]

    assert str(PORT) in listens
    forwarded = {item.blocks[-1] for item in nginx_directives() if item.name == "proxy_pass"}
    assert forwarded == {"location /", f"location = {PATH}"}


def test_nginx_refuses_them_on_the_site_s_port() -> None:
    refusal = [
        item for item in nginx_directives() if item.blocks[-1:] == (f"location ~ ^{PATH}(/|$)",)
    ]

    assert [(item.name, item.arguments) for item in refusal] == [("return", ("404",))]


def test_haproxy_s_exporter_is_on_the_port_and_forwards_nothing() -> None:
    lines = haproxy_sections()["frontend metrics"]

    assert f"bind :{PORT}" in lines
    assert f"http-request use-service prometheus-exporter if {{ path {PATH} }}" in lines
    assert not [line for line in lines if "backend" in line]
    # And no backend asks a server there.
    servers = [line for section in haproxy_sections().values() for line in section]
    assert not [line for line in servers if line.startswith("server ") and str(PORT) in line]


def test_no_file_publishes_the_port() -> None:
    for name in FILES:
        assert str(PORT) not in text_of(name)
    for name in ("Dockerfile", "Dockerfile.local", "Dockerfile.dev", "Dockerfile.production"):
        assert f"EXPOSE {PORT}" not in text_of(name)


def test_what_is_counted_is_kept_on_the_tmpfs() -> None:
    folder = dockerfile_environment("Dockerfile.base")["PROMETHEUS_MULTIPROC_DIR"]

    for name in ("server1", "server2", "worker"):
        mounts = [mount.partition(":")[0] for mount in compose()["services"][name]["tmpfs"]]
        assert any(folder.startswith(f"{mount}/") for mount in mounts)


def test_the_page_names_the_port_and_each_service() -> None:
    page = text_of("docs/monitoring.md")

    assert f"port: {PORT}" in page
    for name in re.findall(r"names: \[(.+)\]", page)[0].split(", "):
        assert name in compose()["services"]
