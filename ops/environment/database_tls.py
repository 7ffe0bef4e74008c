"""TLS to the database: DB_SSL_MODE and DB_SSL_CA, in each engine's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from . import authority
from .fault import Fault
from .variable import Value

# The modes of each engine, in its own words, the strictest last.
MODES: Final[Mapping[str, tuple[str, ...]]] = {
    # remove_mysql: begin
    # https://dev.mysql.com/doc/refman/9.7/en/connection-options.html#option_general_ssl-mode
    "mysql": ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"),
    # remove_mysql: end
    # remove_postgres: begin
    # https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS
    "postgres": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    # remove_postgres: end
}
# How many of the modes, from the end, verify the server's certificate.
_VERIFYING: Final = 2
# The same in the query of a URL.
_IN_URL: Final = frozenset(
    {
        *("ssl_mode", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"),  # remove_mysql
        *("sslmode", "sslrootcert"),  # remove_postgres
    }
)


def options(engine: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Return the driver's options; none for SQLite, and where neither variable is set."""
    mode, text = str(values["DB_SSL_MODE"]), str(values["DB_SSL_CA"])
    if engine not in MODES or not (mode or text):
        return {}
    mode = mode or MODES[engine][-1]
    file = authority.file_of("DB_SSL_CA", text)
    if mode in MODES[engine][-_VERIFYING:]:
        file = file or authority.system_file()
    # remove_postgres: begin
    if engine == "postgres":
        return {"sslmode": mode, **({"sslrootcert": file} if file else {})}
    # remove_postgres: end
    # remove_mysql: begin
    # https://mysqlclient.readthedocs.io/user_guide.html
    if engine == "mysql":
        # Whatever the mode, its client uses TLS where it has an authority.
        if mode in MODES[engine][:2]:
            file = ""
        return {"ssl_mode": mode, **({"ssl": {"ca": file}} if file else {})}
    # remove_mysql: end
    return {}


def faults(engine: str, values: Mapping[str, Value]) -> list[Fault]:
    """Return what is wrong with the two variables for the database's engine."""
    mode, text = str(values["DB_SSL_MODE"]), str(values["DB_SSL_CA"])
    if engine not in MODES or not (mode or text):
        return []
    name = "DB_SSL_MODE" if mode else "DB_SSL_CA"
    query = {key for key, _ in parse_qsl(urlsplit(str(values["DATABASE_URL"])).query)}
    if twice := sorted(query & _IN_URL):
        return [Fault(name, f"DATABASE_URL has {twice[0]} too", f"Remove {twice[0]} there.")]
    modes = MODES[engine]
    if mode and mode not in modes:
        hint = f"Use one of: {', '.join(modes)}."
        return [Fault("DB_SSL_MODE", f"{mode} is no mode of {engine}", hint)]
    verifies = not mode or mode in modes[-_VERIFYING:]
    if verifies and not text and not authority.system_file():
        hint = "Set DB_SSL_CA to the authority's file."
        return [Fault("DB_SSL_MODE", f"it is {mode}, and this system trusts no authority", hint)]
    return []
