"""The time limits of all servers for given variables, as their start scripts derive them."""

import re

from ops import environment
from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    ALL,
    filled,
    haproxy_value,
    limits,
    seconds,
    services,
    supervisor_programs,
    text_of,
)

APP_SERVERS = VARIABLES["APP_SERVER"].choices


class Chain:
    """The limits of each server, in seconds, for one REQUEST_SECONDS."""

    def __init__(self, request: int, slow: int = 0) -> None:
        """Derive the limits, as the start scripts do.

        Args:
            request: REQUEST_SECONDS.
            slow: SLOW_REQUEST_SECONDS, with SLOW_PATHS; 0 for none.
        """
        self.request = request
        self.variables = {"REQUEST_SECONDS": str(request)}
        if slow:
            self.variables |= {"SLOW_PATHS": "/reports/", "SLOW_REQUEST_SECONDS": str(slow)}
        self.values = limits(**self.variables)

    def seconds(self, text: str, unit: str = "s") -> float:
        """Return a duration of a configuration file."""
        return seconds(filled(text, self.values), unit)

    def haproxy(self, section: str, keyword: str) -> float:
        """Return a duration of haproxy.cfg, where a bare number means milliseconds."""
        return self.seconds(haproxy_value(section, keyword).partition(" if ")[0], unit="ms")

    def written(self, script: str) -> float:
        """Return the response timeout that an nginx start script sets."""
        (name,) = re.findall(r"nginx_limits (\S+)", text_of(script))
        return self.seconds(name)

    def stop_wait(self, program: str) -> float:
        """Return how long supervisor waits for a program to end."""
        return self.seconds(supervisor_programs()[program]["stopwaitsecs"])

    def grace(self, service: str) -> float:
        """Return the stop_grace_period of a service."""
        return seconds(services(**ALL, **self.variables)[service]["stop_grace_period"])

    def database(self, url: str) -> dict[str, int]:
        """Return the timeouts in the settings of this database."""
        environ = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "mysite.settings.local"}
        environ |= {"DJANGO_READ_DOTENV": "false", **self.variables}
        options = environment.database_settings(environment.load(environ))["OPTIONS"]
        result = {name: value for name, value in options.items() if name.endswith("timeout")}
        for text in (options.get("options", ""), options.get("init_command", "")):
            for name, value in re.findall(r"(\w+_timeout)=(\d+)", text):
                # PostgreSQL counts in milliseconds, MySQL in seconds.
                result[name] = int(value) // 1000 if url.startswith("postgres") else int(value)
        return result
