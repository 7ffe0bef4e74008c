"""The contract: every variable that the project reads, declared once.

From it come the checks at start, `.env.sample` and the table in docs/environment.md. Each module
here has a part of it, CONTRACT the order. The project's own come from its environment.py.
"""

from __future__ import annotations

from typing import Final

from ops.environment import project
from ops.environment.variable import Section

from .application import DJANGO, LAYER, LIMITS, MONITORING, PROFILE_FIELDS
from .backing import BROKER, DATABASE, REDIS
from .backup import BACKUP
from .mail import MAIL
from .samples import SAMPLE_PASSWORD, SAMPLE_SECRET_KEY
from .stack import STACK
from .uploads import UPLOADS, WORKER

__all__ = [
    "CONTRACT",
    "MIGRATE_ONLY",
    "PROFILE_FIELDS",
    "PROJECT",
    "PROJECT_FAULTS",
    "PROJECT_SECTION",
    "SAMPLE_PASSWORD",
    "SAMPLE_SECRET_KEY",
    "VARIABLES",
]

_STACK: Final = (
    LAYER,
    DJANGO,
    DATABASE,
    REDIS,
    BROKER,
    WORKER,
    UPLOADS,
    MAIL,
    LIMITS,
    MONITORING,
    STACK,
    BACKUP,
)
# The package of the project's settings.
_PACKAGE: Final = next(
    variable.default.partition(".")[0]
    for variable in LAYER.variables
    if variable.name == "DJANGO_SETTINGS_MODULE"
)
PROJECT, PROJECT_FAULTS = project.read(
    _PACKAGE, [variable for section in _STACK for variable in section.variables]
)
PROJECT_SECTION: Final = Section(
    "Project", f"The project's own, declared in {_PACKAGE}/{project.DECLARED_IN}.", PROJECT
)
CONTRACT: Final[tuple[Section, ...]] = (*_STACK, PROJECT_SECTION) if PROJECT else _STACK

VARIABLES: Final = {
    variable.name: variable for section in CONTRACT for variable in section.variables
}
# Migrate makes the first superuser, and has a user of its own; no other container has these.
MIGRATE_ONLY: Final = tuple(
    name for name in VARIABLES if name.startswith(("DJANGO_SUPERUSER_", "DB_MIGRATION_"))
)
