"""Mistakes in a project's modules that Django reports by a traceback of its own code.

`./manage.py` prints them as one message: a name in the settings, or the line that fails while a
module is imported. An error inside a function keeps its traceback.
"""

import difflib
import inspect
import linecache
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from django.apps import AppConfig
from django.conf import Settings, settings
from django.contrib.staticfiles.storage import HashedFilesMixin
from django.core.exceptions import ImproperlyConfigured
from django.db.migrations.exceptions import (
    BadMigrationError,
    CircularDependencyError,
    NodeNotFoundError,
)
from django.template.library import InvalidTemplateLibrary
from django.urls import include
from django.views.debug import SafeExceptionReporterFilter
from rest_framework.settings import import_from_string

from ops.environment import places
from ops.environment.variable import ROOT

_IMPORT = ("<frozen importlib", import_module.__code__.co_filename)
_CREATE = AppConfig.create.__func__.__code__
_GETENV = type(os.environ).__getitem__.__code__

_PACKAGE = "A package: `make setup` installs the locked ones, `make add PACKAGE=...` adds one."

_MIGRATIONS = {
    NodeNotFoundError: "{}.\n    Correct its `dependencies`, or add the file of the one it needs.",
    BadMigrationError: "{}.\n    Add it, or move the file if it is no migration.",
    CircularDependencyError: "These migrations depend on each other: {}.\n"
    "    Correct their `dependencies`.",
}

# The project's own code; an adopted project's is next to the stack's folder.
_ROOTS = {ROOT, Path(os.environ.get("SOURCE_ROOT") or ROOT)}


def message(error: Exception) -> str:
    """Return what is wrong, where, and the next step; nothing for an error of another kind."""
    if isinstance(error, SyntaxError):
        return _syntax(error)
    if type(error) in _MIGRATIONS:
        return _MIGRATIONS[type(error)].format(error)
    if isinstance(error, InvalidTemplateLibrary) and isinstance(error.__context__, ImportError):
        return message(error.__context__)
    frames = [
        frame
        for frame in traceback.walk_tb(error.__traceback__)
        if not frame[0].f_code.co_filename.startswith(_IMPORT)
    ]
    raised_in = frames[-1][0]
    if isinstance(error, ImportError) and raised_in.f_code is _CREATE:
        return _app(raised_in.f_locals["entry"], error)
    if isinstance(error, ModuleNotFoundError) and raised_in.f_code is include.__code__:
        caller, line = frames[-2]
        where = places.named(caller.f_code.co_filename, line)
        return _urls(raised_in.f_locals["urlconf_module"], where)
    if isinstance(error, ValueError) and raised_in.f_code is HashedFilesMixin.hashed_name.__code__:
        return _static(str(error))
    if raised_in.f_code is import_from_string.__code__:
        return f"{places.of_setting('REST_FRAMEWORK', raised_in.f_locals['val'])}: {error}"
    if isinstance(error, ValueError) and raised_in.f_code is Settings.__init__.__code__:
        return f"{os.environ['DJANGO_SETTINGS_MODULE']}: {error}. Correct the setting."
    if isinstance(error, ModuleNotFoundError) and (text := _module(error)):
        return text
    if isinstance(error, ImproperlyConfigured):
        # An error of the stack names its place. One that comes while a package is imported is of
        # a setting, not of the line that imports it.
        own = Path(raised_in.f_code.co_filename).is_relative_to(ROOT / "ops")
        return str(error) if own or _imports_package(frames) else _line(error, frames) or str(error)
    return _line(error, frames)


def _syntax(error: SyntaxError) -> str:
    """Return what Python prints of it, without the lines that lead to the file."""
    if not (error.filename and error.lineno and _in_project(error.filename)):
        return ""
    code = "".join(traceback.format_exception_only(error)[1:]).rstrip()
    return f"{places.named(error.filename, error.lineno)} is no valid Python:\n{code}"


def _app(entry: str, error: ImportError) -> str:
    where = places.of_setting("INSTALLED_APPS", entry)
    if not isinstance(error, ModuleNotFoundError):
        return f"{where}: {error}"
    step = f"Correct the name. {_PACKAGE}"
    if len(entry) == 1:
        step = 'A string in place of a list adds its letters: write INSTALLED_APPS += ["shop"].'
    elif where == "INSTALLED_APPS":
        step = "If these are two names, add the comma between them."
    elif entry.isidentifier():
        step += f" A new app: remove the line, `./manage.py startapp {entry}`, add it again."
    return f"{where}: there is no app {entry!r}.{near(entry)}\n    {step}"


def _static(reason: str) -> str:
    """Return the next step for a file that collectstatic misses; it has named the one above."""
    return (
        f"{reason.partition(' with <')[0]}, to which the static file named above refers.\n"
        "    Correct that url() or import, or add the file to the folder static of an app."
    )


def _urls(name: str, where: str) -> str:
    return (
        f"{where}: include() names {name!r}, and there is no such module.{near(name)}\n"
        "    Correct the name, or add the file."
    )


def _module(error: ModuleNotFoundError) -> str:
    """Name the setting with a module's name, such as ROOT_URLCONF, that a library imports."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    while frames and frames[-1].f_code.co_filename.startswith("<frozen importlib"):
        frames.pop()
    if not frames or frames[-1].f_code is not import_module.__code__:
        return ""
    name = frames[-1].f_locals["name"]
    if not settings.configured:
        return f"DJANGO_SETTINGS_MODULE or --settings: there is no module {name!r}.{near(name)}"
    setting = next((one for one in dir(settings) if name in _texts(getattr(settings, one))), "")
    if not setting:
        return ""
    return (
        f"{places.of_setting(setting, name)}: there is no module {name!r}.{near(name)}\n"
        "    Correct the name, or add the module."
    )


def _texts(value: object) -> list[object]:
    """Return a setting's texts, those in lists and dicts too."""
    if isinstance(value, dict):
        value = [*value.values()]
    if not isinstance(value, list | tuple):
        return [value]
    return [text for one in value for text in _texts(one)]


def _line(error: Exception, frames: list[tuple[FrameType, int]]) -> str:
    """Name the project's line that fails while its module is imported, or its app gets ready."""
    package = f"{os.environ['DJANGO_SETTINGS_MODULE'].rpartition('.')[0]}."
    own = [
        (frame, line)
        for frame, line in frames
        if _in_project(frame.f_code.co_filename)
        or str(frame.f_globals.get("__name__")).startswith(package)
    ]
    if not own or not _is_declaration(own[-1][0]):
        return ""
    frame, line = own[-1]
    path = frame.f_code.co_filename
    where = places.named(path, line)
    if isinstance(error, KeyError) and frames[-1][0].f_code is _GETENV and frames[-2][0] is frame:
        return _variable(str(error.args[0]), where)
    step = "Correct the line."
    if isinstance(error, ModuleNotFoundError) and error.name:
        step = f"Correct the name.{near(error.name)} {_PACKAGE}"
    elif isinstance(error, AttributeError) and error.name:
        step += _question(error.name, dir(error.obj))
    elif isinstance(error, NameError) and error.name:
        step += _question(error.name, {**frame.f_builtins, **frame.f_globals, **frame.f_locals})
    # Checks import neither migrations nor commands.
    command = sys.argv[1] if {"migrations", "commands"} & {*Path(path).parts} else "check"
    return (
        f"{where}: {type(error).__name__}: {_without_secrets(str(error))}\n"
        f"    {linecache.getline(path, line).strip()}\n"
        f"    {step} `./manage.py {command} --traceback` shows the calls that it leads to."
    )


def _imports_package(frames: list[tuple[FrameType, int]]) -> bool:
    codes = [frame.f_code for frame, _ in frames]
    return any(c.co_name == "<module>" and "site-packages" in c.co_filename for c in codes)


def _without_secrets(text: str) -> str:
    """Hide values that a conversion such as int() quotes, of variables with a secret's name."""
    for name, value in os.environ.items():
        if len(value) >= 4 and SafeExceptionReporterFilter.hidden_settings.search(name):
            text = text.replace(value, SafeExceptionReporterFilter.cleansed_substitute)
    return text


def _in_project(path: str) -> bool:
    """Return whether a file is the team's: neither the stack's nor an installed package's."""
    file = Path(path)
    return (
        any(file.is_relative_to(root) for root in _ROOTS)
        and not file.is_relative_to(ROOT / "ops")
        and "site-packages" not in file.parts
    )


def _is_declaration(frame: FrameType) -> bool:
    """Return whether the code of a module, a class or `AppConfig.ready` runs, no other function."""
    code = frame.f_code
    in_function = code.co_flags & inspect.CO_OPTIMIZED
    ready = code.co_name == "ready" and isinstance(frame.f_locals.get("self"), AppConfig)
    return ready or not in_function


def _variable(name: str, where: str) -> str:
    return (
        f"{where}: {name} is not set in the environment.\n"
        f'    Declare it in your environment.py, and read it by env.str("{name}") '
        "(docs/your-app.md): it is then checked at the start, and passed to the containers."
    )


def _question(name: str, names: Iterable[str], whole: str = "{}") -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.7)
    return f" Did you mean {whole.format(*close)!r}?" if close else ""


def near(name: str) -> str:
    """Return a question, with a space before it, that names the closest module; or nothing.

    Args:
        name: a dotted name of a module, or of what a module defines.
    """
    parent: Any = None
    parts = name.split(".")
    for index, part in enumerate(parts):
        folders = None if parent is None else getattr(parent, "__path__", [])
        names = {module.name for module in pkgutil.iter_modules(folders)} | {*dir(parent)}
        if part not in names:
            return _question(part, names, ".".join([*parts[:index], "{}", *parts[index + 1 :]]))
        try:
            parent = import_module(".".join(parts[: index + 1]))
        except ImportError:
            return ""
    return ""
