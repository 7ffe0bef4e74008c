"""The project's own variables: those that its environment.py declares, and the faults in there.

The file is run without its package: the environment is checked where Django is not installed, too.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from pathlib import Path
from runpy import run_path
from typing import Final

from . import variable as declarations
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
_NUMBERS: Final = frozenset({Kind.INT, Kind.PORT})
_CHOOSING: Final = frozenset({Kind.CHOICE, Kind.LIST})
# Without those that only the stack's own variables have.
_ARGUMENTS: Final = (
    *("name", "kind", "help", "default", "layer_defaults", "required_in", "secret"),
    *("choices", "minimum", "maximum", "validate"),
)
_EXAMPLE: Final = "docs/your-app.md has an example."
_KINDS: Final = f"Use Kind.{', Kind.'.join(Kind.__members__)}."
_DECLARE: Final = (
    'This file only declares: Variable(name="SHOP_LIMIT", kind=Kind.INT, help="...", '
    'default="20"). Your settings read it: env.int("SHOP_LIMIT").'
)


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
        problem = f"{type(error).__name__}: {error}"
        return (), (
            Fault(_line(where, path, error), problem, f"{_step(error)} {_EXAMPLE}".strip()),
        )
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


def _step(error: Exception) -> str:
    """Return the next step after an error in the declarations; nothing where it is obvious."""
    if isinstance(error, AttributeError) and error.obj is Kind:
        return _KINDS
    if isinstance(error, NameError) and hasattr(declarations, str(error.name)):
        return f"Import it: from ops.environment.variable import {error.name}."
    if isinstance(error, ModuleNotFoundError):
        return "It is read without any package, so import nothing but ops.environment.variable."
    if isinstance(error, AttributeError | ImportError | KeyError | NameError):
        return _DECLARE
    if isinstance(error, TypeError) and "Variable.__init__" in str(error):
        return f"Its arguments, each by its name: {', '.join(_ARGUMENTS)}."
    return ""


def _types(variable: Variable) -> Iterator[tuple[str, str]]:
    """Yield which arguments have another type than declared, and the next step."""
    layers = variable.layer_defaults
    if not isinstance(layers, Mapping):
        yield "its layer_defaults is not a dict", 'Write layer_defaults={"local": "..."}.'
        layers = {}
    defaults = {f"default in {layer}": text for layer, text in layers.items()}
    texts = {"name": variable.name, "help": variable.help, "default": variable.default, **defaults}
    for argument, text in texts.items():
        if not isinstance(text, str):
            yield f"its {argument} is not text", f'Write it in quotes: "5", "true". {_EXAMPLE}'
    if not isinstance(variable.kind, Kind):
        yield "its kind is not one of Kind", _KINDS
    if not isinstance(variable.required_in, Set | tuple | list):
        yield "its required_in is not a set of layers", 'Use SHARED, or frozenset({"production"}).'
    if not isinstance(variable.choices, tuple | list):
        yield "its choices is not a tuple", 'Write choices=("small", "large").'
    for argument, limit in {"minimum": variable.minimum, "maximum": variable.maximum}.items():
        if not isinstance(limit, int | None):
            yield f"its {argument} is not a number", f"Write {argument}=1, without quotes."


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
    if variable.choices and variable.kind not in _CHOOSING:
        yield f"a {variable.kind} has no choices", "Add kind=Kind.CHOICE, or Kind.LIST."
    if (variable.minimum, variable.maximum) != (None, None) and variable.kind not in _NUMBERS:
        yield f"a {variable.kind} has no minimum and maximum", "Add kind=Kind.INT."
    for layer in sorted({*variable.required_in, *variable.layer_defaults} - set(LAYERS)):
        yield (
            f"{layer!r} is not a layer",
            did_you_mean(layer, LAYERS) or f"Use {', '.join(LAYERS)}.",
        )
    yield from _defaults(variable)


def _defaults(variable: Variable) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the defaults, each once for all layers that have it."""
    defaults = {layer: variable.default_in(layer) for layer in LAYERS}
    for text in filter(None, dict.fromkeys(defaults.values())):
        layers = [layer for layer in LAYERS if defaults[layer] == text]
        if variable.secret and SHARED.intersection(layers):
            shared = ", ".join(layer for layer in layers if layer in SHARED)
            yield (
                f"it is a secret, and has a default in {shared}",
                "Remove it, and set required_in.",
            )
        try:
            variable.parse(text)
        except InvalidValueError as error:
            where = "" if text == variable.default else f" in {', '.join(layers)}"
            yield f"its default{where} is not valid: {error.problem}", error.hint
    missing = [
        layer for layer in LAYERS if not defaults[layer] and layer not in variable.required_in
    ]
    if missing and variable.kind not in _CAN_BE_EMPTY:
        problem = f"a {variable.kind} that may be left out needs a default: {', '.join(missing)}"
        yield problem, 'Add default="..." or layer_defaults={"local": "..."}.'
