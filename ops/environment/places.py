"""Where in the project's files something is written: file and line, for messages."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from .variable import ROOT


def named(path: str, line: int) -> str:
    """Return a place as people write it.

    Args:
        path: a file; one of the project is named from its root on.
        line: counted from 1.
    """
    file = Path(path)
    shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    return f"{shown} line {line}"


def caller(own: str) -> str:
    """Return the line that called into a module.

    Args:
        own: the module's `__file__`.
    """
    frames = traceback.walk_stack(None)
    outside = (f for f in frames if f[0].f_code.co_filename not in (own, __file__))
    frame, line = next(outside)
    return named(frame.f_code.co_filename, line)


def of_setting(setting: str, text: str) -> str:
    """Return the line of the settings that has a text in quotes; without one, the setting's name.

    Args:
        setting: the setting that the text is a part of; modules without it are not searched.
        text: such as an app's name.
    """
    modules = [m for m in [*sys.modules.values()] if setting in getattr(m, "__dict__", {})]
    files = {str(getattr(module, "__file__", None)) for module in modules}
    for path in sorted(file for file in files if file.endswith(".py")):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            code = line.partition("#")[0]
            if f'"{text}"' in code or f"'{text}'" in code:
                return f"{setting} in {named(path, number)}"
    return setting
