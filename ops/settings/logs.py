"""How the application logs: one line an event on standard error, each with its request's id."""

import logging
import re
from typing import Any

import structlog

from ops.logs.lines import RENDER, SHARED_PROCESSORS, JSONLines

# Of a password reset link, Django's or django-allauth's. The access logs of nginx, HAProxy and
# Apache leave it out, too.
RESET_TOKEN = re.compile(r"\b[0-9a-z]{6,7}-[0-9a-f]{32}\b")


def without_tokens(text: str) -> str:
    """Return a text without the tokens of password reset links."""
    return RESET_TOKEN.sub("***", text)


def logging_config(*, level: str, json: bool) -> dict[str, Any]:
    """Configure structlog and return the LOGGING setting that goes with it.

    Args:
        level: the lowest level that is printed, such as "INFO".
        json: one JSON object a line, for machines; else readable lines.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Python's warnings as lines like all others.
    logging.captureWarnings(True)
    renderers: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer(colors=False)]
    if json:
        renderers = [structlog.processors.format_exc_info, RENDER]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": JSONLines if json else structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED_PROCESSORS,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderers,
                    lambda _, __, line: without_tokens(line),
                ],
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own default handler would print these a second time.
            "django": {"handlers": [], "level": level, "propagate": True},
            # django-structlog says the same of each job, with the id of its request.
            "celery.app.trace": {"level": "ERROR"},
            "celery.worker.strategy": {"level": "WARNING"},
            # /healthz reports a component that is down; a traceback at every check would not help.
            "health_check": {"level": "ERROR"},
        },
    }
