"""The database: which of several ways names it, and Django's settings for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from . import database_tls
from .fault import Fault, InvalidValueError
from .variable import ROOT, SHARED, Value, did_you_mean

if TYPE_CHECKING:
    from .typed import Environment

Settings = dict[str, Any]

_BACKENDS: Final = {
    "sqlite": "django.db.backends.sqlite3",
    "mysql": "ops.database.mysql",  # remove_mysql
    "postgres": "ops.database.postgres",  # remove_postgres
}
_SCHEMES: Final = {
    "sqlite": "sqlite",
    "mysql": "mysql",  # remove_mysql
    "postgres": "postgres",  # remove_postgres
    "postgresql": "postgres",  # remove_postgres
}
# Every wait ends before uWSGI's harakiri ends the worker (a statement's: _options). The wait for a
# connection is short: while the database is down, every worker may be in it, and other pages wait.
_OPTIONS: Final[Mapping[str, Settings]] = {
    # https://docs.djangoproject.com/en/5.2/ref/databases/#sqlite-notes
    # https://www.sqlite.org/wal.html
    "sqlite": {
        # Taking the write lock first avoids "database is locked" when a reader starts to write.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    },
    # remove_mysql: begin
    # https://docs.djangoproject.com/en/5.2/ref/databases/#mysql-notes
    # https://mysqlclient.readthedocs.io/user_guide.html#functions-and-attributes
    "mysql": {
        "charset": "utf8mb4",
        "connect_timeout": 2,
        "isolation_level": "read committed",
        # Strict mode is added to the server's own modes. The wait for a row lock ends before
        # read_timeout, so that the server names the reason and the connection survives.
        "init_command": (
            "SET SESSION sql_mode=CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'), "
            "SESSION innodb_lock_wait_timeout=5"
        ),
    },
    # remove_mysql: end
    # remove_postgres: begin
    # https://docs.djangoproject.com/en/5.2/ref/databases/#postgresql-notes
    # https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    # https://www.postgresql.org/docs/17/runtime-config-client.html
    "postgres": {
        "connect_timeout": 2,
    },
    # remove_postgres: end
}


def _options(engine: str, seconds: int) -> Settings:
    """Return an engine's options for requests of at most that many seconds."""
    statement = seconds - 10
    limits: Mapping[str, Settings] = {
        "mysql": {"read_timeout": statement, "write_timeout": statement},  # remove_mysql
        # remove_postgres: begin
        "postgres": {
            # Ours (ops.database.postgres): a server that hangs ends no statement, and one that is
            # up names the reason before.
            "read_timeout": statement + 2,
            "options": (
                f"-c statement_timeout={statement}000 -c lock_timeout=5000 "
                f"-c idle_in_transaction_session_timeout={seconds + 40}000"
            ),
        },
        # remove_postgres: end
    }
    return {**_OPTIONS[engine], **limits.get(engine, {})}


# remove_mysql: begin
# Files of MySQL's client, each ssl_NAME in a URL.
_MYSQL_TLS: Final = ("ca", "capath", "cert", "key")
# remove_mysql: end
# What ends a long statement; see without_time_limits.
_TIME_LIMITS: Final = frozenset({"read_timeout", "write_timeout", "options"})

# docker compose's database, and who migrates there (rights, in its folder).
SERVICE: Final = "db"
MIGRATION_USER: Final = "migration"

# As SQLAlchemy and django-environ write it; not a URL.
_IN_MEMORY: Final = "sqlite://:memory:"

# The variables that can name the database; the first that is set does.
WAYS: Final = (
    "DATABASE_URL",
    "DB_ENGINE",
    "RDS_HOSTNAME",  # remove_beanstalk
)
# What each group needs, by Django's names.
_GROUP: Final = {key: f"DB_{key}" for key in ("NAME", "USER", "PASSWORD", "HOST")}
# remove_beanstalk: begin
_RDS: Final = {
    "NAME": "RDS_DB_NAME",
    "USER": "RDS_USERNAME",
    "PASSWORD": "RDS_PASSWORD",
    "HOST": "RDS_HOSTNAME",
}
# remove_beanstalk: end
_HINT: Final = (
    "Set one of: DATABASE_URL (or DATABASE_URL_FILE); DB_ENGINE with DB_NAME, DB_USER, DB_PASSWORD "
    "and DB_HOST"
    "; RDS_HOSTNAME with RDS_DB_NAME, RDS_USERNAME and RDS_PASSWORD"  # remove_beanstalk
    "."
)
_ENCODE: Final = (
    "Percent-encode these characters in the user name and the password "
    "(@ as %40, : as %3A, / as %2F, # as %23, ? as %3F, % as %25)."
)


def database_settings(environment: Environment) -> Settings:
    """Return Django's DATABASES["default"].

    https://docs.djangoproject.com/en/5.2/ref/settings/#databases

    Raises:
        ValueError: the variables of the database have faults; it names them all.
    """
    if environment.building:
        # Nothing listens there: a build step that queries the database fails at once.
        return {"ENGINE": "django.db.backends.dummy"}
    if errors := faults(environment.values, environment.layer):
        raise ValueError("\n".join(map(str, errors)))
    return settings(environment.values, environment.layer)


def without_time_limits(settings: Settings) -> Settings:
    """Return the settings for a migration, whose statements may take as long as they need."""
    options = settings.get("OPTIONS", {})
    kept = {name: value for name, value in options.items() if name not in _TIME_LIMITS}
    return {**settings, "OPTIONS": kept}


def migration_login(environment: Environment) -> Settings:
    """Return Django's USER and PASSWORD for a migration; nothing where DB_USER migrates too."""
    values = environment.values
    user, password = values["DB_MIGRATION_USER"], values["DB_MIGRATION_PASSWORD"]
    own = _way(values, environment.layer) == "DB_ENGINE" and values["DB_HOST"] == SERVICE
    if own and values["DB_USER"] != MIGRATION_USER:
        user = user or MIGRATION_USER
    return {"USER": user, "PASSWORD": password} if user and password else {}


def faults(values: Mapping[str, Value], layer: str) -> list[Fault]:
    """Return what is wrong with what names the database; it needs no package."""
    way = _way(values, layer)
    if way == "DATABASE_URL":
        url_faults = _url_faults(str(values[way]))
        return url_faults or database_tls.faults(_engine(way, values), values)
    if way:
        return [
            Fault(name, f"it is not set, and {_shown(way, values)} needs it", f"Set {name}.")
            for name in _needed(way, values).values()
            if not values[name]
        ] + database_tls.faults(_engine(way, values), values)
    if layer in SHARED:
        return [Fault("DATABASE_URL", f"no database is named for {layer}", _HINT)]
    return []


def settings(values: Mapping[str, Value], layer: str) -> Settings:
    """Return the settings that values without a fault give."""
    way = _way(values, layer)
    if way == "DATABASE_URL":
        named = _from_url(str(values[way]), _request_seconds(values))
    elif way:
        named = _from_group(way, values)
    else:
        named = _settings("sqlite", {"NAME": "var/db.sqlite3"}, _request_seconds(values))
    named["OPTIONS"] |= database_tls.options(_engine(way, values), values)
    return _with_common(named, values)


def _way(values: Mapping[str, Value], layer: str) -> str:
    """Return the variable that names the database; empty where none is set."""
    return next((way for way in WAYS if values[way] and not _is_stack_only(way, values, layer)), "")


def _is_stack_only(way: str, values: Mapping[str, Value], layer: str) -> bool:
    """Return whether this names no server but docker compose's, which `make run` does not reach.

    So one `.env` serves both. Compose itself passes DB_HOST to the application.
    """
    engine = values["DB_ENGINE"]
    return layer == "local" and way == "DB_ENGINE" and engine != "sqlite" and not values["DB_HOST"]


def _with_common(settings: Settings, values: Mapping[str, Value]) -> Settings:
    # https://docs.djangoproject.com/en/5.2/ref/databases/#persistent-connections
    settings["CONN_MAX_AGE"] = values["DB_CONN_MAX_AGE"]
    # remove_asgi: begin
    # There each request has a thread of its own, which would keep its connection open and unused.
    if values["APP_SERVER"] == "asgi":
        settings["CONN_MAX_AGE"] = 0
    # remove_asgi: end
    settings["CONN_HEALTH_CHECKS"] = True
    if values["TEST_DB_NAME"]:
        # https://docs.djangoproject.com/en/5.2/ref/settings/#test
        settings["TEST"] = {"NAME": values["TEST_DB_NAME"]}
    return settings


def _settings(engine: str, named: Settings, seconds: int) -> Settings:
    settings = {"ENGINE": _BACKENDS[engine], **named}
    settings["OPTIONS"] = {**_options(engine, seconds), **named.get("OPTIONS", {})}
    if engine == "sqlite" and named["NAME"] != ":memory:":
        settings["NAME"] = str(ROOT / named["NAME"])
    return settings


def _needed(way: str, values: Mapping[str, Value]) -> Mapping[str, str]:
    """Return the variables that a group has to have, by Django's names for them."""
    # remove_beanstalk: begin
    if way == "RDS_HOSTNAME":
        return _RDS
    # remove_beanstalk: end
    return {"NAME": "DB_NAME"} if values["DB_ENGINE"] == "sqlite" else _GROUP


def _shown(way: str, values: Mapping[str, Value]) -> str:
    return f"{way}={values[way]}" if way == "DB_ENGINE" else way


def _engine(way: str, values: Mapping[str, Value]) -> str:
    """Return the engine of the database that this way names; SQLite where none does."""
    if way == "DATABASE_URL":
        url = str(values[way])
        return "sqlite" if url == _IN_MEMORY else _SCHEMES[url.partition("://")[0]]
    # remove_beanstalk: begin
    if way == "RDS_HOSTNAME":
        return "postgres" if values["RDS_PORT"] == 5432 else "mysql"
    # remove_beanstalk: end
    return str(values["DB_ENGINE"]) if way else "sqlite"


def _from_group(way: str, values: Mapping[str, Value]) -> Settings:
    engine, port = _engine(way, values), values["DB_PORT"]
    # remove_beanstalk: begin
    if way == "RDS_HOSTNAME":
        port = values["RDS_PORT"]
    # remove_beanstalk: end
    named = {key: values[name] for key, name in _needed(way, values).items()}
    if engine != "sqlite":
        named["PORT"] = port or ""
    return _settings(engine, named, _request_seconds(values))


def _request_seconds(values: Mapping[str, Value]) -> int:
    seconds = values["REQUEST_SECONDS"]
    assert isinstance(seconds, int)  # noqa: S101 (a number with a default)
    return seconds


def _url_faults(url: str) -> list[Fault]:
    try:
        _check_url(url)
    except InvalidValueError as error:
        return [Fault("DATABASE_URL", error.problem, error.hint)]
    return []


def _from_url(url: str, seconds: int) -> Settings:
    if url == _IN_MEMORY:
        return _settings("sqlite", {"NAME": ":memory:"}, seconds)
    engine = _SCHEMES[url.partition("://")[0]]
    # Imported here: the checks answer where no package is installed.
    import environ

    # https://django-environ.readthedocs.io/en/latest/types.html#environ-env-db-url
    parsed: Settings = environ.Env.db_url_config(url, engine=_BACKENDS[engine])
    # remove_mysql: begin
    if engine == "mysql":
        # The client takes them as one option. https://mysqlclient.readthedocs.io/user_guide.html
        options = parsed.get("OPTIONS", {})
        files = {
            name: options.pop(f"ssl_{name}") for name in _MYSQL_TLS if f"ssl_{name}" in options
        }
        if files:
            options["ssl"] = files
    # remove_mysql: end
    return _settings(engine, parsed, seconds)


def _check_url(url: str) -> None:
    """Check a URL.

    Raises:
        InvalidValueError: it is not valid; the message repeats no part of it.
    """
    if url == _IN_MEMORY:
        return
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise InvalidValueError(
            "it is not a URL", "Write mysql://user:password@host:3306/name or sqlite:///path."
        )
    if scheme not in _SCHEMES:
        # Print the scheme only when it can be nothing else: a password may be in its place.
        suggestion = did_you_mean(scheme, _SCHEMES)
        raise InvalidValueError(
            "its scheme is unknown", f"{suggestion} Use mysql, postgres or sqlite.".strip()
        )
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise InvalidValueError("it has a space or a line end in it", "Percent-encode it as %20.")
    parts = _split(url)
    _check_query(parts)
    if _SCHEMES[scheme] == "sqlite":
        if parts.netloc:
            raise InvalidValueError(
                "a sqlite URL has no host",
                "Write sqlite:///path from the project's root, or sqlite:////path from /.",
            )
    else:
        _check_server(parts)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidValueError("it cannot be parsed", _ENCODE) from None
    credentials, separator, _ = parts.netloc.rpartition("@")
    beyond = parts.path + parts.query + parts.fragment
    stray = "@" in credentials or credentials.count(":") > 1 or "#" in url
    # An unescaped / or ? in the password ends the host early, and leaves the @ behind it.
    if stray or ("@" in beyond and not separator):
        raise InvalidValueError(
            "its user name or password has characters that mean something else in a URL", _ENCODE
        )
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise InvalidValueError("it has a % that encodes nothing", _ENCODE)
    return parts


def _check_server(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        raise InvalidValueError(
            "its port is not a number from 1 to 65535",
            f"Write it after the host, as host:3306. {_ENCODE}",
        ) from None
    missing = {
        "user": parts.username,
        "host": parts.hostname,
        "database name": parts.path.strip("/"),
    }
    names = [name for name, value in missing.items() if not value]
    if names or port == 0:
        raise InvalidValueError(
            f"it has no {' and no '.join(names)}" if names else "its port is 0",
            f"Write {parts.scheme}://user:password@host:port/name.",
        )


def _check_query(parts: SplitResult) -> None:
    # django-environ takes these from the query as Django's own settings, and "false" as true.
    own = {"CONN_MAX_AGE", "ATOMIC_REQUESTS", "AUTOCOMMIT", "DISABLE_SERVER_SIDE_CURSORS"}
    own.add("CONN_HEALTH_CHECKS")
    if own & {name.upper() for name in parse_qs(parts.query, keep_blank_values=True)}:
        raise InvalidValueError(
            "Django's own settings do not belong in the URL",
            "Use DB_CONN_MAX_AGE; the rest belongs in the settings module.",
        )
