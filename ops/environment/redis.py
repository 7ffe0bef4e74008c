"""Redis: which variables name it, and the address of each of its databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from . import authority
from .fault import Fault
from .variable import SHARED, Value

if TYPE_CHECKING:
    from .typed import Environment

# Databases of one server, counted from the one that REDIS_URL names. Clearing the cache empties its
# database, so nothing that must stay is in it.
BROKER: Final = 0
CACHE: Final = 1
COUNTER: Final = 2

# The stack's Redis is set up with this user (redis/start); any other has `default`.
SERVICE: Final = "redis"
USER: Final = "mysite"

# Each would switch off, or replace, what REDIS_SSL_CA is for.
_TLS_IN_URL: Final = frozenset(
    {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data"}
)
_WAYS: Final = ("REDIS_URL", "REDIS_HOST", "CELERY_BROKER_URL")
_HINT: Final = "Set REDIS_URL (or REDIS_URL_FILE), or REDIS_HOST with REDIS_PASSWORD."


def redis_url(environment: Environment, database: int) -> str:
    """Return the address of one of Redis' databases; empty where no Redis is named.

    Args:
        environment: the checked environment.
        database: BROKER, CACHE or COUNTER.
    """
    values = environment.values
    url = str(values["REDIS_URL"])
    if not url and values["REDIS_HOST"]:
        host, password = values["REDIS_HOST"], quote(str(values["REDIS_PASSWORD"]), safe="")
        user = USER if host == SERVICE else ""
        sign_in = f"{user}:{password}@" if password else ""
        url = f"redis://{sign_in}{host}:6379"
    if not url:
        return ""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0) + database
    query = parts.query
    if parts.scheme == "rediss":
        # Every client reads these from the URL: cache, counter, and Celery for broker and results.
        file = authority.file_of("REDIS_SSL_CA", str(values["REDIS_SSL_CA"]))
        tls = {"ssl_cert_reqs": "required", **({"ssl_ca_certs": file} if file else {})}
        query = urlencode({**tls, **dict(parse_qsl(query))}, safe="/")
    return urlunsplit(parts._replace(path=f"/{number}", query=query))


def faults(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    """Return what is wrong with how Redis is named, beyond each variable's own faults."""
    if broken & {*_WAYS, "REDIS_PASSWORD", "REDIS_SSL_CA", "BROKER"}:
        return []
    if values["REDIS_SSL_CA"] and not str(values["REDIS_URL"]).startswith("rediss:"):
        hint = "Set REDIS_URL=rediss://..., or remove REDIS_SSL_CA."
        return [Fault("REDIS_SSL_CA", "it is set, and REDIS_URL names no Redis with TLS", hint)]
    query = parse_qsl(urlsplit(str(values["REDIS_URL"])).query, keep_blank_values=True)
    if values["REDIS_SSL_CA"] and (twice := sorted(key for key, _ in query if key in _TLS_IN_URL)):
        return [Fault("REDIS_SSL_CA", f"REDIS_URL has {twice[0]} too", f"Remove {twice[0]} there.")]
    if layer not in SHARED:
        return []
    if values["BROKER"] == "redis" and not any(values[name] for name in _WAYS):
        problem = f"no Redis is named for {layer}: tasks would never run"
        return [Fault("REDIS_URL", problem, _HINT)]
    if values["REDIS_HOST"] and not (values["REDIS_URL"] or values["REDIS_PASSWORD"]):
        problem = f"it is not set, and REDIS_HOST is; {layer} requires it"
        hint = "Set REDIS_PASSWORD, or REDIS_PASSWORD_FILE to a file that holds it."
        return [Fault("REDIS_PASSWORD", problem, hint)]
    return []
