"""Mistakes in a project's modules that Django reports by a traceback of its own code.

`./manage.py` prints them as one message: a name in the settings, or the line that fails while a
module is imported. An error inside a function keeps its traceback.
"""

import difflib
import inspect
import linecache
import os
import pkgutil
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from django.apps import AppConfig
from django.conf import Settings, settings
from django.contrib.staticfiles.storage import HashedFilesMixin
from django.db.migrations.exceptions import NodeNotFoundError
from django.urls import include
from rest_framework.settings import import_from_string

from ops.environment import places
from ops.environment.variable import ROOT

_IMPORT = ("<frozen importlib", import_module.__code__.co_filename)
_CREATE = AppConfig.create.__func__.__code__
_GETENV = type(os.environ).__getitem__.__code__

_PACKAGE = "A package: `make setup` installs the locked ones, `make add PACKAGE=...` adds one."

# The project's own code; an adopted project's is next to the stack's folder.
_ROOTS = {ROOT, Path(os.environ.get("SOURCE_ROOT") or ROOT)}


def message(error: Exception) -> str:
    """Return what is wrong, where, and the next step; nothing for an error of another kind."""
    if isinstance(error, SyntaxError):
        return _syntax(error)
    if isinstance(error, NodeNotFoundError):
        return f"{error}.\n    Correct its `dependencies`, or add the file of the one it needs."
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
    if where == "INSTALLED_APPS":
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
    return [*value] if isinstance(value, list | tuple) else [value]


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
    return (
        f"{where}: {type(error).__name__}: {error}\n"
        f"    {linecache.getline(path, line).strip()}\n"
        f"    {step} `./manage.py check --traceback` shows the calls that it leads to."
    )


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
            close = difflib.get_close_matches(part, sorted(names), n=1, cutoff=0.7)
            whole = ".".join([*parts[:index], *close, *parts[index + 1 :]])
            return f" Did you mean {whole!r}?" if close else ""
        try:
            parent = import_module(".".join(parts[: index + 1]))
        except ImportError:
            return ""
    return ""
