"""The project's own variables: those that its environment.py declares, and the faults in there.

The file is run without its package: the environment is checked where Django is not installed, too.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from runpy import run_path
from typing import Final

from .fault import Fault, InvalidValueError
from .files import SUFFIX
from .variable import LAYERS, ROOT, SHARED, Kind, Scope, Variable, did_you_mean

DECLARED_IN: Final = "environment.py"
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
# What shells, Python and docker set or read: a container would get this machine's value.
_SYSTEM: Final = re.compile(
    "HOME|HOSTNAME|LANG|LOGNAME|PATH|PWD|SHELL|TERM|TMPDIR|USER|(COMPOSE|DOCKER|LC|LD|PYTHON)[A-Z0-9_]*"
)
# What is empty when it is not set; the other kinds need a default.
_CAN_BE_EMPTY: Final = frozenset({Kind.TEXT, Kind.CHOICE, Kind.LIST, Kind.URL, Kind.DATABASE_URL})
_EXAMPLE: Final = "docs/your-app.md has an example."


def read(
    package: str, stack: Iterable[Variable], root: Path = ROOT
) -> tuple[tuple[Variable, ...], tuple[Fault, ...]]:
    """Return the variables that a package declares, and what is wrong with others.

    Args:
        package: the folder of the project's settings.
        stack: the stack's own variables, whose names are reserved.
        root: the project's root.
    """
    path = root / package / DECLARED_IN
    where = f"{package}/{DECLARED_IN}"
    if not path.is_file():
        return (), ()
    try:
        declared = run_path(str(path)).get("VARIABLES")
    except Exception as error:
        return (), (Fault(_line(where, path, error), f"{type(error).__name__}: {error}", _EXAMPLE),)
    if not isinstance(declared, tuple | list) or not all(
        isinstance(one, Variable) for one in declared
    ):
        problem = "its VARIABLES is not a tuple of Variable(...)"
        return (), (Fault(where, problem, f"Mind the comma after each. {_EXAMPLE}"),)
    names = {name for variable in stack for name in _names(variable)}
    good: list[Variable] = []
    faults: list[Fault] = []
    for variable in declared:
        problems = [*_types(variable)] or [*_faults(variable, names)]
        faults += [Fault(f"{where}: {variable.name}", *problem) for problem in problems]
        if not problems:
            good.append(variable)
            names |= _names(variable)
    return tuple(good), tuple(faults)


def _names(variable: Variable) -> set[str]:
    """Return the names that a variable has in the environment."""
    return {variable.name, variable.name + SUFFIX} if variable.secret else {variable.name}


def _line(where: str, path: Path, error: Exception) -> str:
    """Return where in the file an error came from."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    number = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{where} line {number}" if number else where


def _types(variable: Variable) -> Iterator[tuple[str, str]]:
    """Yield which arguments have another type than declared, and the next step."""
    defaults = {f"default in {layer}": text for layer, text in variable.layer_defaults.items()}
    texts = {"name": variable.name, "help": variable.help, "default": variable.default, **defaults}
    for argument, text in texts.items():
        if not isinstance(text, str):
            yield f"its {argument} is not text", f'Write it in quotes: "5", "true". {_EXAMPLE}'
    if not isinstance(variable.kind, Kind):
        yield "its kind is not one of Kind", f"Use Kind.{', Kind.'.join(Kind.__members__)}."
    if isinstance(variable.required_in, str):
        yield "its required_in is not a set of layers", 'Use SHARED, or frozenset({"production"}).'


def _faults(variable: Variable, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a declaration, and the next step."""
    if not _NAME.fullmatch(variable.name):
        yield "it is not a valid name", "Use capital letters, digits and single underscores."
    if variable.name in names:
        yield "that name exists already", "Choose another one; docs/environment.md lists them."
    if _SYSTEM.fullmatch(variable.name):
        yield "other programs have a variable of that name", f"Name it SHOP_{variable.name}."
    if variable.scope is not Scope.DJANGO:
        yield "only the stack has variables of that scope", "Remove `scope`."
    for layer in sorted({*variable.required_in, *variable.layer_defaults} - set(LAYERS)):
        yield (
            f"{layer!r} is not a layer",
            did_you_mean(layer, LAYERS) or f"Use {', '.join(LAYERS)}.",
        )
    for layer in LAYERS:
        text = variable.default_in(layer)
        if text and variable.secret and layer in SHARED:
            yield f"it is a secret, and has a default in {layer}", "Remove it, and set required_in."
        try:
            if text:
                variable.parse(text)
        except InvalidValueError as error:
            yield f"its default in {layer} is not valid: {error.problem}", error.hint
    optional = [layer for layer in LAYERS if layer not in variable.required_in]
    missing = [layer for layer in optional if not variable.default_in(layer)]
    if missing and variable.kind not in _CAN_BE_EMPTY:
        problem = f"a {variable.kind} that may be left out needs a default: {', '.join(missing)}"
        yield problem, 'Add default="..." or layer_defaults={"local": "..."}.'
