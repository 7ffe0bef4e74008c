"""Which variable names the database, and the faults of a wrong one."""

from pathlib import Path
from typing import Any

import pytest

from ops.environment import database
from ops.environment.check import examine
from ops.environment.fault import Fault
from ops.environment.variable import ROOT

GROUP = {
    "DB_ENGINE": "mysql",
    "DB_NAME": "site",
    "DB_USER": "web",
    "DB_PASSWORD": "hidden",
    "DB_HOST": "db",
}
RDS = {
    "RDS_HOSTNAME": "rds.example",
    "RDS_PORT": "3306",
    "RDS_DB_NAME": "ebdb",
    "RDS_USERNAME": "eb",
    "RDS_PASSWORD": "hidden",
}
MYSQL = "ops.database.mysql"
POSTGRES = "ops.database.postgres"
SQLITE = "django.db.backends.sqlite3"


def resolve(environ: dict[str, str], layer: str = "local") -> tuple[dict[str, Any], list[Fault]]:
    """Return the settings and faults of an environment."""
    values = examine(environ, layer).values
    faults = database.faults(values, layer)
    return {} if faults else database.settings(values, layer), faults


def settings(environ: dict[str, str], layer: str = "local") -> dict[str, Any]:
    """Return the settings of an environment without a fault."""
    result, faults = resolve(environ, layer)
    assert not faults
    return result


def named(result: dict[str, Any]) -> tuple[Any, ...]:
    """Return the settings that name the database."""
    return tuple(result.get(key, "") for key in ("ENGINE", "USER", "PASSWORD", "HOST", "NAME"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DATABASE_URL": "mysql://u:p@h/n"}, (MYSQL, "u", "p", "h", "n")),
        ({"DATABASE_URL": "postgres://u:p@h/n"}, (POSTGRES, "u", "p", "h", "n")),
        ({"DATABASE_URL": "postgresql://u@h/n"}, (POSTGRES, "u", "", "h", "n")),
        (
            {"DATABASE_URL": "mysql://u%40x:p%3A%2F%23%3F%25%40+$@h/n"},
            (MYSQL, "u@x", "p:/#?%@+$", "h", "n"),
        ),
        ({"DATABASE_URL": "mysql://u:p@[::1]:3307/n"}, (MYSQL, "u", "p", "::1", "n")),
        ({"DATABASE_URL": "sqlite:///var/x.db"}, (SQLITE, "", "", "", str(ROOT / "var/x.db"))),
        ({"DATABASE_URL": "sqlite:////srv/x.db"}, (SQLITE, "", "", "", "/srv/x.db")),
        ({"DATABASE_URL": "sqlite://:memory:"}, (SQLITE, "", "", "", ":memory:")),
        ({"DATABASE_URL": "sqlite://"}, (SQLITE, "", "", "", ":memory:")),
        (GROUP, (MYSQL, "web", "hidden", "db", "site")),
        ({**GROUP, "DB_ENGINE": "postgresql"}, (POSTGRES, "web", "hidden", "db", "site")),
        ({"DB_ENGINE": "sqlite", "DB_NAME": "x.db"}, (SQLITE, "", "", "", str(ROOT / "x.db"))),
        (RDS, (MYSQL, "eb", "hidden", "rds.example", "ebdb")),
        ({**RDS, "RDS_PORT": "5432"}, (POSTGRES, "eb", "hidden", "rds.example", "ebdb")),
        ({**RDS, "RDS_PORT": ""}, (MYSQL, "eb", "hidden", "rds.example", "ebdb")),
        # The order of the three variables.
        ({**GROUP, **RDS, "DATABASE_URL": "mysql://u:p@h/n"}, (MYSQL, "u", "p", "h", "n")),
        ({**GROUP, **RDS}, (MYSQL, "web", "hidden", "db", "site")),
        # Without DB_ENGINE, the other DB_ variables are ignored.
        ({**GROUP, **RDS, "DB_ENGINE": ""}, (MYSQL, "eb", "hidden", "rds.example", "ebdb")),
        ({**GROUP, "DB_ENGINE": ""}, (SQLITE, "", "", "", str(ROOT / "var/db.sqlite3"))),
        ({}, (SQLITE, "", "", "", str(ROOT / "var/db.sqlite3"))),
    ],
)
def test_database_is_named_by_the_first_variable_that_is_set(
    environ: dict[str, str], expected: tuple[str, ...]
) -> None:
    """DATABASE_URL, then DB_ENGINE, then RDS_HOSTNAME, then the local layer's SQLite."""
    assert named(settings(environ)) == expected


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"DATABASE_URL": "mysql://u:p@h:3307/n"}, 3307),
        ({"DATABASE_URL": "mysql://u:p@h/n"}, ""),
        ({**GROUP, "DB_PORT": "3307"}, 3307),
        (GROUP, ""),
        ({**RDS, "RDS_PORT": "5432"}, 5432),
    ],
)
def test_database_port_is_empty_unless_set(environ: dict[str, str], port: Any) -> None:
    """Django reads an empty port as the default port of the engine."""
    assert settings(environ)["PORT"] == port


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_missing_database_is_a_fault_in_dev_and_production(layer: str) -> None:
    _, [fault] = resolve({}, layer)
    assert layer in fault.problem
    for way in ("DATABASE_URL", "DB_ENGINE", "RDS_HOSTNAME"):
        assert way in fault.hint


@pytest.mark.parametrize("layer", ["local", "test"])
def test_missing_database_is_sqlite_in_local_and_test(layer: str) -> None:
    """So that `make run` and the unit tests need nothing."""
    assert settings({}, layer)["ENGINE"] == SQLITE


@pytest.mark.parametrize(
    "environ",
    [
        {"DB_ENGINE": "postgres"},
        {"DB_ENGINE": "mysql", "DB_PASSWORD": "hidden"},
        {**GROUP, "DB_HOST": ""},
    ],
)
def test_db_engine_without_a_host_is_ignored_in_the_local_layer_only(
    environ: dict[str, str],
) -> None:
    """One `.env` serves `make run` and compose, which sets the host itself.

    In other layers, SQLite must not replace the intended database.
    """
    assert settings(environ)["ENGINE"] == SQLITE
    assert named(settings({**environ, **RDS})) == named(settings(RDS))
    for layer in ("dev", "production", "test"):
        assert "DB_HOST" in [fault.name for fault in resolve(environ, layer)[1]]


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
@pytest.mark.parametrize("engine", ["mysql", "postgres"])
@pytest.mark.parametrize("missing", ["DB_NAME", "DB_USER", "DB_PASSWORD"])
def test_missing_db_variable_is_named(missing: str, engine: str, layer: str) -> None:
    _, faults = resolve({**GROUP, "DB_ENGINE": engine, missing: ""}, layer)
    assert [fault.name for fault in faults] == [missing]
    assert missing in faults[0].hint


def test_all_missing_database_variables_are_named_at_once() -> None:
    names = [fault.name for fault in resolve({"DB_ENGINE": "mysql"}, "production")[1]]
    assert names == ["DB_NAME", "DB_USER", "DB_PASSWORD", "DB_HOST"]
    assert [fault.name for fault in resolve({"DB_ENGINE": "sqlite"})[1]] == ["DB_NAME"]
    names = [fault.name for fault in resolve({"RDS_HOSTNAME": "h"})[1]]
    assert names == ["RDS_DB_NAME", "RDS_USERNAME", "RDS_PASSWORD"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hidden", "it is not a URL"),
        ("hidden:pa55@db/name", "it is not a URL"),
        ("mysqll://u:hidden@h/n", "Did you mean mysql?"),
        ("hidden://u:p@h/n", "its scheme is unknown"),
        ("oracle://u:hidden@h/n", "its scheme is unknown"),
        ("MYSQL://u:hidden@h/n", "Did you mean mysql?"),
        ("mysql://u:hidden@h", "no database name"),
        ("mysql://u:hidden@h/", "no database name"),
        ("mysql://u:hidden@/n", "no host"),
        ("mysql://:hidden@h/n", "no user"),
        ("mysql://h/n", "no user"),
        ("mysql://u:hidden@h:port/n", "its port is not a number"),
        ("mysql://u:hidden@h:70000/n", "its port is not a number"),
        ("mysql://u:hidden@h:0/n", "its port is 0"),
        ("mysql://u:hid@den@h/n", "Percent-encode"),
        ("mysql://u:hid/den@h/n", "Percent-encode"),
        ("mysql://u:hid#den@h/n", "Percent-encode"),
        ("mysql://u:hidden@h/n#x", "Percent-encode"),
        ("mysql://u:12/hidden@h/n", "Percent-encode"),
        ("mysql://u:hid?den@h/n", "Percent-encode"),
        ("mysql://u:hid:den@h/n", "Percent-encode"),
        ("mysql://u:hid%hid@h/n", "Percent-encode"),
        ("mysql://u:hidden%@h/n", "Percent-encode"),
        ("mysql://u:hid[den@h/n", "Percent-encode"),
        ("mysql://u:hid den@h/n", "Percent-encode"),
        ("mysql://u:hidden@h/n\n", "Percent-encode"),
        (" mysql://u:hidden@h/n", "its scheme is unknown"),
        ("mysql://u:hidden@h/n?CONN_MAX_AGE=5", "DB_CONN_MAX_AGE"),
        ("mysql://u:hidden@h/n?conn_health_checks=1", "DB_CONN_MAX_AGE"),
        ("mysql://u:hidden@h/n?atomic_requests=false", "settings module"),
        ("sqlite://hidden/x.db", "sqlite:///path"),
    ],
)
def test_malformed_database_url_is_a_fault_that_hides_the_password(url: str, message: str) -> None:
    """Otherwise a log would show the password."""
    _, [fault] = resolve({"DATABASE_URL": url})
    assert fault.name == "DATABASE_URL"
    assert fault.hint
    assert message in str(fault)
    for part in ("hid", "den", "pa55"):
        assert part not in str(fault).replace("hidden from", "")


def test_mysql_options_set_unicode_strict_mode_isolation_and_timeouts() -> None:
    """No stale reads, and no wait longer than a request may take."""
    options = settings(GROUP)["OPTIONS"]
    assert options["charset"] == "utf8mb4"
    assert options["isolation_level"] == "read committed"
    assert (options["connect_timeout"], options["read_timeout"], options["write_timeout"]) == (
        2,
        10,
        10,
    )
    assert "STRICT_TRANS_TABLES" in options["init_command"]
    assert "@@sql_mode" in options["init_command"]
    assert "innodb_lock_wait_timeout=5" in options["init_command"]


def test_postgresql_options_set_statement_lock_and_read_timeouts() -> None:
    """The server itself cancels slow statements."""
    options = settings({**GROUP, "DB_ENGINE": "postgres"})["OPTIONS"]
    assert options["connect_timeout"] == 2
    assert "statement_timeout=10000" in options["options"]
    assert "lock_timeout=5000" in options["options"]
    assert options["read_timeout"] == 12


def test_sqlite_options_set_wal_and_immediate_transactions(tmp_path: Path) -> None:
    import sqlite3

    options = settings({})["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["timeout"] == 5
    connection = sqlite3.connect(tmp_path / "db.sqlite3")
    connection.executescript(options["init_command"])
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    connection.close()


def test_query_of_database_url_overrides_driver_options() -> None:
    """For example a TLS mode, or a longer timeout."""
    url = "postgres://u:p@h/n?sslmode=require&connect_timeout=9"
    options = settings({"DATABASE_URL": url})["OPTIONS"]
    assert options["sslmode"] == "require"
    assert options["connect_timeout"] == 9
    assert "statement_timeout" in options["options"]


def test_mysql_tls_files_are_passed_as_the_ssl_option() -> None:
    """The driver ignores a string as `ssl`, and then verifies no certificate."""
    url = "mysql://u:p@h/n?ssl_mode=VERIFY_CA&ssl_ca=/ca.pem&ssl_cert=/c.pem&ssl_key=/k.pem"

    options = settings({"DATABASE_URL": url})["OPTIONS"]

    assert options["ssl"] == {"ca": "/ca.pem", "cert": "/c.pem", "key": "/k.pem"}
    assert options["ssl_mode"] == "VERIFY_CA"
    assert not {"ssl_ca", "ssl_cert", "ssl_key"} & set(options)


@pytest.mark.parametrize("environ", [{"DATABASE_URL": "mysql://u:p@h/n"}, GROUP, RDS, {}])
def test_every_database_has_connection_max_age_health_checks_and_test_name(
    environ: dict[str, str],
) -> None:
    """Connections are kept, and checked before reuse."""
    result = settings({**environ, "DB_CONN_MAX_AGE": "7", "TEST_DB_NAME": "test_ci"})
    assert result["CONN_MAX_AGE"] == 7
    assert result["CONN_HEALTH_CHECKS"] is True
    assert result["TEST"] == {"NAME": "test_ci"}
    assert "TEST" not in settings(environ)


def test_connections_end_with_their_request_under_asgi() -> None:
    """There each request has a thread of its own, so a kept connection would stay unused."""
    assert settings({**GROUP, "APP_SERVER": "asgi"})["CONN_MAX_AGE"] == 0


@pytest.mark.parametrize("engine", ["mysql", "postgres"])
def test_migration_settings_drop_time_limits_and_keep_other_options(engine: str) -> None:
    result = settings({**GROUP, "DB_ENGINE": engine})
    before = dict(result["OPTIONS"])
    patient = database.without_time_limits(result)
    lost = set(before) - set(patient["OPTIONS"])
    assert lost == {"read_timeout", "write_timeout" if engine == "mysql" else "options"}
    assert patient["OPTIONS"]["connect_timeout"] == 2
    assert result["OPTIONS"] == before
    assert {**patient, "OPTIONS": before} == result
