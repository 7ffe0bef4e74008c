"""How the application logs: one line an event on standard error, each with its request's id."""

import logging
from typing import Any

import structlog

from ops.logs.lines import RENDER, SHARED_PROCESSORS, JSONLines
from ops.logs.tokens import without_tokens


def logging_config(*, level: str, json: bool, mail_admins: bool = False) -> dict[str, Any]:
    """Configure structlog and return the LOGGING setting that goes with it.

    Args:
        level: the lowest level that is printed, such as "INFO".
        json: one JSON object a line, for machines; else readable lines.
        mail_admins: also mail errors of pages to ADMINS.
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
    plain = structlog.stdlib.ProcessorFormatter
    # For people. Without a traceback's variables, which structlog shows where `rich` is installed:
    # they can be passwords.
    text = formatter(
        plain,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    )
    line = formatter(JSONLines, structlog.processors.format_exc_info, RENDER) if json else text
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": line, "text": text},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
            "admins": {"class": "ops.logs.admins.AdminHandler", "formatter": "text"},
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own default handler would print these a second time.
            "django": {"handlers": ["admins"] * mail_admins, "level": level, "propagate": True},
            # django-structlog says the same of each job, with the id of its request.
            "celery.app.trace": {"level": "ERROR"},
            "celery.worker.strategy": {"level": "WARNING"},
            # /healthz reports a component that is down; a traceback at every check would not help.
            "health_check": {"level": "ERROR"},
        },
    }


def formatter(
    kind: type[structlog.stdlib.ProcessorFormatter], *renderers: structlog.typing.Processor
) -> dict[str, Any]:
    """Return the configuration of a formatter that ends with these."""
    return {
        "()": kind,
        "foreign_pre_chain": SHARED_PROCESSORS,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderers,
            lambda _, __, line: without_tokens(line),
        ],
    }
