"""What every log line carries, and how it is written as JSON."""

import logging
from typing import Any

import structlog

from ops.logs.tokens import without_tokens

# What every line carries, ours and the libraries' alike.
# https://www.structlog.org/en/stable/standard-library.html
SHARED_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
]
RENDER = structlog.processors.JSONRenderer()


class JSONLines(structlog.stdlib.ProcessorFormatter):
    """One JSON object a line; an event of structlog has all its fields already."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: Any = record.msg
        if hasattr(record, "_logger") and "exc_info" not in event:
            return without_tokens(str(RENDER(None, "", event)))
        return super().format(record)
