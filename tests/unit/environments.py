"""Valid environments for tests of the check, the names of faults, and Python with variables."""

import os
import subprocess
from collections.abc import Iterable

from ops import environment
from ops.environment.check import ALL_SCOPES
from tests.tree import ROOT
from tests.unit.forks import run_forked

KEY = "k3y-" + "abcdefghij" * 6
GOOD = {
    "DJANGO_SECRET_KEY": KEY,
    "DJANGO_ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "mysql://web:pa55word@db/site",
    "REDIS_URL": "redis://:pa55word@redis:6379",
    "STATS_PASSWORD": "an0ther-secret",
}
GROUP = {**GOOD, "DATABASE_URL": "", "DB_ENGINE": "mysql", "DB_NAME": "site", "DB_PASSWORD": "x"}


def names(
    environ: dict[str, str], layer: str = "production", scopes: Iterable[str] = ALL_SCOPES
) -> list[str]:
    """Return the names of the variables at fault."""
    result = environment.faults(environ, layer, scopes)
    assert all(fault.problem and fault.hint for fault in result)
    return [fault.name for fault in result]


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process, with the test settings and these variables."""
    done = run_forked(
        *("-c", program),
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings.test", **variables},
    )
    assert done.returncode == 0, done.stderr
    return done
