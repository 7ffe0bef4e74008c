"""The contract: every variable that the project reads, declared once.

From it come the checks at start, `.env.sample` and the table in docs/environment.md. Each module
here has a part of it, CONTRACT the order.
"""

from __future__ import annotations

from typing import Final

from .application import DJANGO, LAYER, LIMITS, MONITORING, PROFILE_FIELDS
from .backing import BROKER, DATABASE, REDIS
from .samples import SAMPLE_PASSWORD, SAMPLE_SECRET_KEY
from .stack import STACK
from .uploads import UPLOADS, WORKER

__all__ = [
    "CONTRACT",
    "PROFILE_FIELDS",
    "SAMPLE_PASSWORD",
    "SAMPLE_SECRET_KEY",
    "VARIABLES",
]

CONTRACT: Final = (
    LAYER,
    DJANGO,
    DATABASE,
    REDIS,
    BROKER,
    WORKER,
    UPLOADS,
    LIMITS,
    MONITORING,
    STACK,
)

VARIABLES: Final = {
    variable.name: variable for section in CONTRACT for variable in section.variables
}
