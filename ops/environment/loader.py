"""The environment as the settings read it: loaded, checked, typed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from . import dotenv
from .check import examine
from .contract import VARIABLES
from .fault import report
from .names import base
from .typed import Environment
from .variable import LAYERS, ROOT, SHARED, Scope, is_true

SETTINGS_MODULE: Final = "DJANGO_SETTINGS_MODULE"

# Servers by their names in docker compose's network, which no program outside of it reaches.
_IN_COMPOSE: Final = re.compile(
    r"^(DB_HOST=db|REDIS_HOST=redis|BROKER_HOST=broker|SERVER_COUNT=\d+)$"
    r"|^(DATABASE|REDIS|CELERY_BROKER)_URL=\w+://([^/]*@)?(db|redis|broker)(:\d+)?(/|$)"
)

# What read_dotenv() added to os.environ, which load() treats as read from .env.
_from_dotenv: dict[str, str] = {}


def layer_of(settings_module: str) -> str:
    """Return the layer that a settings module belongs to.

    A module of a team's own, such as mysite.settings.staging, has to meet
    what production has to.
    """
    last = settings_module.rpartition(".")[2]
    return last if last in LAYERS else "production"


def find_dotenv(environ: Mapping[str, str], layer: str, root: Path = ROOT) -> dotenv.DotEnv:
    """Return what `.env` says; nothing in a test layer, or where DJANGO_READ_DOTENV says no."""
    wanted = VARIABLES["DJANGO_READ_DOTENV"]
    text = environ.get(wanted.name) or wanted.default
    # A malformed word is a fault of the check that follows; until then it counts as no.
    if layer == "test" or not is_true(text):
        return dotenv.DotEnv()
    return dotenv.read(root / ".env")


def read_dotenv(
    environ: MutableMapping[str, str] | None = None, root: Path = ROOT
) -> dotenv.DotEnv:
    """Put `.env` into the environment, overriding nothing; load() reports its faults.

    In a test layer there is no `.env`, and neither is one of another layer for local work: its
    hosts, database and secrets are that stack's. The stack's own variables stay out: the
    application has no use for the stats page's password. Nor does local work reach servers by the
    names that they have in docker compose's network.
    """
    environ = os.environ if environ is None else environ
    layer = layer_of(environ.get(SETTINGS_MODULE) or VARIABLES[SETTINGS_MODULE].default)
    dotenv_file = find_dotenv(environ, layer, root)
    if other_layer(dotenv_file, layer):
        return dotenv.DotEnv()
    for name, value in dotenv_file.values.items():
        variable = VARIABLES.get(base(name))
        stack = variable is not None and variable.scope is Scope.STACK
        unreachable = layer == "local" and _IN_COMPOSE.search(f"{name}={value}")
        if name not in environ and not stack and not unreachable:
            environ[name] = value
            if environ is os.environ:
                _from_dotenv[name] = value
    return dotenv_file


def other_layer(dotenv_file: dotenv.DotEnv, layer: str) -> str:
    """Return the layer that a `.env` is for, where local work does not read it; else nothing."""
    named = dotenv_file.values.get("LAYER", "")
    return named if layer == "local" and named in SHARED else ""


def ignored_layer(root: Path = ROOT) -> str:
    """Return the layer of a `.env` that this process does not read; else nothing."""
    layer = layer_of(os.environ.get(SETTINGS_MODULE) or VARIABLES[SETTINGS_MODULE].default)
    return other_layer(find_dotenv(os.environ, layer, root), layer)


def load(environ: MutableMapping[str, str] | None = None, root: Path = ROOT) -> Environment:
    """Return the checked environment, `.env` included.

    Raises:
        ImproperlyConfigured: it has faults; the message names them all, each with its hint, and no
            secret's value.
    """
    environ = os.environ if environ is None else environ
    dotenv_file = read_dotenv(environ, root)
    layer = layer_of(environ.get(SETTINGS_MODULE) or VARIABLES[SETTINGS_MODULE].default)
    if layer == "test":
        _forget_dotenv(environ)
    result = examine(environ, layer, {Scope.DJANGO}, dotenv_file, installed=True)
    if result.faults:
        # Imported here: `./manage.py env` answers without Django.
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured(report(result.faults, layer))
    return Environment(layer, result.building, result.values)


def _forget_dotenv(environ: MutableMapping[str, str]) -> None:
    """Take out what came from `.env` before `--settings` named the test layer."""
    if environ is os.environ:
        for name, value in _from_dotenv.items():
            if name != SETTINGS_MODULE and environ.get(name) == value:
                del environ[name]
        _from_dotenv.clear()
