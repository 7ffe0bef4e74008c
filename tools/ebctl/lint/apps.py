"""INSTALLED_APPS: each app is in the bundle and in the image, or is a locked package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions

from tools.ebctl.bundle import Bundle
from tools.ebctl.lint.container import is_ignored, matches
from tools.ebctl.lint.finding import Finding

SETTINGS = ("mysite/settings/base.py", "mysite/settings/production.py")
LOCKED = "requirements/production.txt"
LIST = "INSTALLED_APPS"


def check(bundle: Bundle) -> Iterator[Finding]:
    """Yield each installed app that a container could not import when it starts."""
    for file in SETTINGS:
        if file in bundle.files:
            try:
                tree = ast.parse(bundle.files[file].text)
            except SyntaxError as error:
                yield Finding(file, error.lineno or 0, f"this is not Python: {error.msg}", "app")
                continue
            for app, line in installed(tree):
                if problem := missing(bundle, app):
                    yield Finding(file, line, f"{LIST} has {app!r}, {problem}", "app")


def installed(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the apps that a settings module lists, and their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name == LIST:
                yield from texts(node.value)
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name))
            ) if name == LIST and node.value:
                yield from texts(node.value)


def texts(node: ast.expr) -> Iterator[tuple[str, int]]:
    """Yield the texts in lists and tuples, also in a sum of them."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value, part.lineno
        case ast.BinOp(left=left, right=right):
            yield from texts(left)
            yield from texts(right)


def missing(bundle: Bundle, app: str) -> str:
    """Return what an app lacks, with the next step; or nothing."""
    parts = app.split(".")
    files = [name for name in bundle.files if is_module(name, parts[0])]
    if not files:
        return missing_package(bundle, parts[0])
    # The last part may be the class of an AppConfig.
    least = len(parts) - 1 if parts[-1][:1].isupper() else len(parts)
    files = [name for name in files if is_module(name, "/".join(parts[:least]))]
    if not files:
        return f"but the bundle has no {'.'.join(parts[:least])}; commit it, or correct the name"
    ignored = bundle.files.get(".dockerignore")
    if ignored and all(is_ignored(name, ignored.text) for name in files):
        return "which .dockerignore keeps out of the image; move it to another folder"
    return ""


def is_module(name: str, path: str) -> bool:
    """Return whether a file is a module, or in a package, of this path."""
    return name == f"{path}.py" or (name.endswith(".py") and matches(name, path))


def missing_package(bundle: Bundle, name: str) -> str:
    """Return what is missing of a package that is no folder of the bundle; or nothing."""
    known = distributions()
    if name in known:
        locked = bundle.files.get(LOCKED)
        if not locked or known[name] & locked_names(locked.text):
            return ""
        return (
            f"but {', '.join(sorted(known[name]))} is not in {LOCKED}, so the image lacks it. Add "
            "it to requirements/project.in and run `make lock`"
        )
    # Without the project's packages in .venv nothing is known of any.
    if "django" not in known:
        return ""
    return (
        f"but the bundle has no folder {name}, and no package here has that name. Commit it (a "
        ".gitignore, an export-ignore of .gitattributes or a submodule keeps it out), or correct it"
    )


@cache
def distributions() -> dict[str, frozenset[str]]:
    """Return the names on PyPI of what can be imported here."""
    return {
        name: frozenset(map(normalized, names)) for name, names in packages_distributions().items()
    }


def locked_names(text: str) -> set[str]:
    """Return the packages of a lock file."""
    return {normalized(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def normalized(name: str) -> str:
    """Return a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
