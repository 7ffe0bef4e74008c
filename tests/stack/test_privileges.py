"""Containers have only the privileges, networks and secrets that they need."""

import ipaddress
import json

import pytest

from tests.stack.compose import DB_ENGINE, Stack, contains_secret, docker, mysql_only
from tests.waiting import eventually

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
    assert "GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON `mysite`.* TO `mysite`" in grants
    assert grants.count("GRANT ") == 2


# Migrations may create all that is in an application's database.
MIGRATION_SQL = {
    "mysql": (
        "CREATE TABLE drill_rights (id int PRIMARY KEY AUTO_INCREMENT, n int)",
        "CREATE TRIGGER drill_seven BEFORE INSERT ON drill_rights FOR EACH ROW SET NEW.n = 7",
        "CREATE FUNCTION drill_next (x int) RETURNS int RETURN x + (SELECT n FROM drill_rights)",
    ),
    "postgres": (
        "CREATE TABLE drill_rights (id serial PRIMARY KEY, n int)",
        "CREATE FUNCTION drill_set () RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.n := 7; RETURN NEW; END'",
        "CREATE TRIGGER drill_seven BEFORE INSERT ON drill_rights FOR EACH ROW"
        " EXECUTE FUNCTION drill_set()",
        "CREATE FUNCTION drill_next (x int) RETURNS bigint LANGUAGE sql AS"
        " 'SELECT $1 + n FROM drill_rights'",
    ),
}
DROP = {
    "mysql": ("DROP FUNCTION drill_next", "DROP TABLE drill_rights"),
    "postgres": (
        "DROP FUNCTION drill_next",
        "DROP TABLE drill_rights",
        "DROP FUNCTION drill_set",
    ),
}
# Prints what the application may not do, and then what it may.
AS_APPLICATION = """
import django; django.setup()
from django.db import connection as c, Error
for sql in ("CREATE TABLE drill_b (i int)", "DROP TABLE drill_rights", "TRUNCATE drill_rights",
        "ALTER TABLE drill_rights ADD x int", "CREATE INDEX drill_i ON drill_rights (n)"):
    try:
        c.cursor().execute(sql)
        print(sql)
    except Error:
        pass
cursor = c.cursor()
cursor.execute("INSERT INTO drill_rights (id) VALUES (default)")
cursor.execute("SELECT n FROM drill_rights"); print(*cursor.fetchone())
cursor.execute("UPDATE drill_rights SET n = 8"); cursor.execute("SELECT drill_next(1)")
print(*cursor.fetchone()); cursor.execute("DELETE FROM drill_rights")
"""


def test_migrations_change_tables_and_the_application_only_rows(production: Stack) -> None:
    check_rights(production)


def test_database_of_an_earlier_release_gets_the_migration_user(production: Stack) -> None:
    """There the application's user could do everything, and it migrated."""
    user = "print(c.settings_dict['USER'])"
    production.run_in(
        *("db", "mysql", "--user=stackctl", "--execute"),
        f"DROP USER migration; GRANT ALL ON mysite.* TO mysite; {OLD_TRIGGER}",
    ) if DB_ENGINE == "mysql" else production.run_in(
        *("db", "psql", "--username=postgres", "mysite", "--command"),
        "REASSIGN OWNED BY migration TO mysite; DROP OWNED BY migration; DROP ROLE migration",
    )
    said = production.migrating(user)
    assert said.splitlines()[-1] == "mysite" and "no user migration yet" in said

    production.compose("restart", "db")
    production.compose("up", "--detach", "--wait")

    assert production.migrating(user).splitlines()[-1] == "migration"
    check_rights(production)
    if DB_ENGINE == "mysql":
        check_old_trigger(production)


OLD_TRIGGER = """
CREATE TABLE mysite.drill_old (n int);
CREATE DEFINER = mysite TRIGGER mysite.drill_old BEFORE INSERT ON mysite.drill_old
 FOR EACH ROW SET NEW.n = 7;
CREATE TABLE mysite.drill_ticks (n int);
CREATE DEFINER = mysite EVENT mysite.drill_tick ON SCHEDULE EVERY 1 SECOND
 DO INSERT INTO mysite.drill_ticks VALUES (1);
"""


def check_old_trigger(stack: Stack) -> None:
    """Run a trigger that the application's user created: it runs with that user's rights."""
    try:
        said = stack.python_in(
            "server1",
            "import django; django.setup()\nfrom django.db import connection as c\n"
            "cursor = c.cursor(); cursor.execute('INSERT INTO drill_old VALUES (1)')\n"
            "cursor.execute('SELECT n FROM drill_old'); print(*cursor.fetchone())",
        )
        assert said.strip() == "7"
        # An event likewise.
        stack.migrating("c.cursor().execute('DELETE FROM drill_ticks')")
        ticks = ("-N", "--execute", "SELECT COUNT(*) FROM mysite.drill_ticks")
        eventually(
            lambda: int(stack.run_in("db", "mysql", "--user=stackctl", *ticks)) > 0,
            seconds=10,
            what="the event runs",
        )
    finally:
        stack.migrating("c.cursor().execute('DROP EVENT drill_tick')")
        stack.migrating("c.cursor().execute('DROP TABLE drill_ticks')")
        stack.migrating("c.cursor().execute('DROP TABLE drill_old')")
        revoke = "REVOKE TRIGGER, EVENT ON mysite.* FROM mysite"
        stack.run_in("db", "mysql", "--user=stackctl", "--execute", revoke)


def check_rights(stack: Stack) -> None:
    """Create objects as a migration does, and use them as the application."""
    stack.migrating(f"for s in {MIGRATION_SQL[DB_ENGINE]!r}: c.cursor().execute(s)")
    try:
        assert stack.python_in("server1", AS_APPLICATION).splitlines() == ["7", "9"]
    finally:
        stack.migrating(f"for s in {DROP[DB_ENGINE]!r}: c.cursor().execute(s)")


@mysql_only
def test_only_the_application_users_connect_to_mysql_over_the_network(production: Stack) -> None:
    accounts = "SELECT user FROM mysql.user WHERE host <> 'localhost'"

    # The account of ./stackctl, which only root in the container can use.
    users = production.run_in("db", "mysql", "--user=stackctl", "-N", "--execute", accounts)

    assert sorted(users.split()) == ["exporter", "migration", "mysite"]


def test_container_logs_are_limited_in_size(production: Stack) -> None:
    for service in (*APPLICATION, "worker", "redis", "haproxy", "db"):
        assert production.inspect(service, '{{index .HostConfig.LogConfig.Config "max-size"}}')
