"""Containers have only the privileges, networks and secrets that they need."""

import ipaddress
import json

import pytest

from tests.stack.compose import Stack, contains_secret, docker, mysql_only

APPLICATION = ("server1", "server2")


@pytest.mark.parametrize("service", [*APPLICATION, "worker", "redis", "haproxy"])
def test_container_is_unprivileged_and_read_only(production: Stack, service: str) -> None:
    check_unprivileged(production, service)


def check_unprivileged(stack: Stack, service: str) -> str:
    """Assert that a service is unprivileged and read-only; return its user id."""
    status = stack.run_in(service, "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    user = facts["Uid"].split()[0]

    assert user != "0"
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert stack.inspect(service, "{{.HostConfig.ReadonlyRootfs}}") == "true"
    return user


def test_application_cannot_write_its_own_code(production: Stack) -> None:
    for path in ("/srv/project/manage.py", "/srv/static/staticfiles.json", "/opt/venv/bin/uwsgi"):
        assert production.python_in(
            "server1", f"import os; print(os.access({path!r}, os.W_OK))"
        ) == ("False")
    owner = docker(
        *("run", "--rm", "--entrypoint", "stat", production.image, "-c", "%U"),
        "/srv/project/manage.py",
    )
    assert owner == "root"


def test_only_haproxy_publishes_ports(production: Stack) -> None:
    published = {
        service: json.loads(production.inspect(service, "{{json .HostConfig.PortBindings}}"))
        for service in (*APPLICATION, "worker", "redis", "haproxy", "db")
    }

    assert set(published.pop("haproxy")) == {"8080/tcp", "8888/tcp"}
    assert not any(published.values())


def test_local_layer_listens_only_on_the_loopback_address(tree: object) -> None:
    plain = Stack(tree, "local")  # type: ignore[arg-type]
    del plain.environment["HTTP_ADDRESS"]
    config = json.loads(plain.output("config", "--format", "json"))
    hosts = {port["host_ip"] for port in config["services"]["haproxy"]["ports"]}

    assert hosts == {"127.0.0.1"}


def networks(stack: Stack, service: str) -> set[str]:
    names = json.loads(stack.inspect(service, "{{json .NetworkSettings.Networks}}"))
    return {name.removeprefix(f"{stack.project}_") for name in names}


def test_haproxy_has_no_network_to_the_database(production: Stack) -> None:
    assert networks(production, "haproxy") == {"front"}
    assert networks(production, "server1") == {"edge", "front", "backend"}
    assert networks(production, "db") == {"backend"}
    assert networks(production, "redis") == {"backend"}
    assert docker(
        "network", "inspect", "--format", "{{.Internal}}", f"{production.project}_backend"
    ) == ("true")


def default_route(stack: Stack, service: str) -> str:
    """Return the default gateway in the kernel's notation, or an empty string."""
    table = stack.run_in(service, "cat", "/proc/net/route").splitlines()
    rows = [line.split() for line in table[1:]]
    return next((row[2] for row in rows if row[1] == "00000000"), "")


def gateway(stack: Stack, network: str) -> str:
    """Return the gateway of a network in the same notation."""
    address = docker(
        *("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}"),
        f"{stack.project}_{network}",
    )
    return ipaddress.ip_address(address).packed[::-1].hex().upper()


def test_only_servers_and_worker_have_outgoing_network_access(production: Stack) -> None:
    for service in (*APPLICATION, "worker"):
        assert default_route(production, service) == gateway(production, "edge")
    assert default_route(production, "haproxy") == gateway(production, "front")
    options = docker(
        "network", "inspect", "--format", "{{json .Options}}", f"{production.project}_front"
    )
    # Outgoing packets keep their private address, so no reply returns.
    assert json.loads(options)["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert default_route(production, "db") == ""


def test_servers_do_not_have_the_stats_password(production: Stack) -> None:
    for service in APPLICATION:
        environment = production.run_in(service, "env")
        assert "STATS_PASSWORD" not in environment
        assert not contains_secret(environment, production.environment["STATS_PASSWORD"])


@mysql_only
def test_database_user_has_only_its_own_database(production: Stack) -> None:
    grants = production.python_in(
        "server1",
        "import django; django.setup()\n"
        "from django.db import connection as c\n"
        "cursor = c.cursor(); cursor.execute('SHOW GRANTS')\n"
        "print([row[0] for row in cursor.fetchall()])",
    )

    assert "GRANT USAGE ON *.*" in grants
    assert "ALL PRIVILEGES ON `mysite`.*" in grants
    # It may see lock holders, but not the statements of other sessions.
    tables = ("metadata_locks", "data_lock_waits", "threads")
    assert all(f"ON `performance_schema`.`{table}`" in grants for table in tables)
    assert "PROCESSLIST_INFO" not in grants
    assert grants.count("GRANT ") == 5


@mysql_only
def test_only_the_application_user_connects_to_mysql_over_the_network(production: Stack) -> None:
    accounts = "SELECT user FROM mysql.user WHERE host <> 'localhost'"

    # The account of ./stackctl, which only root in the container can use.
    users = production.run_in("db", "mysql", "--user=stackctl", "-N", "--execute", accounts)

    assert users.split() == ["mysite"]


def test_container_logs_are_limited_in_size(production: Stack) -> None:
    for service in (*APPLICATION, "worker", "redis", "haproxy", "db"):
        assert production.inspect(service, '{{index .HostConfig.LogConfig.Config "max-size"}}')
