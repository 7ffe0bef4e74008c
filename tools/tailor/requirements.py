"""The packages that an existing project requires, read from the files that name them."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tools.tailor.versions import SurveyError


def requirements_of(root: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files that name the project's packages, and the packages.

    Raises:
        SurveyError: there is none.
    """
    for folder in dict.fromkeys((root, root.parent)):
        for pattern in ("requirements.txt", "requirements/prod*.txt", "requirements/base.txt"):
            if paths := sorted(folder.glob(pattern)):
                return (paths[0],), tuple(lines_of(paths[0]))
        if (path := folder / "pyproject.toml").is_file():
            table = loaded(path, tomllib.loads)
            if packages := table.get("project", {}).get("dependencies"):
                return (path,), tuple(packages)
        if (path := folder / "Pipfile.lock").is_file():
            locked = loaded(path, json.loads).get("default", {})
            return (path,), tuple(locked_lines(path, locked))
    raise SurveyError(
        "there is no requirements.txt, no requirements/base.txt, no pyproject.toml with "
        "[project] dependencies and no Pipfile.lock: the images would have no package of yours. "
        "Write one, for example: pip freeze >requirements.txt, or with Poetry: "
        "poetry export --output requirements.txt."
    )


# A package in a folder: `-e .`, `./libs/bill`, `bill @ file:///srv/bill`.
_LOCAL: Final = re.compile(
    r"(?:(?:-e|--editable)[ =]*)?(?:\.{1,2}(?:/.*|\[.*)?|.* @ file:.*|file:.*)"
)


def text_in(path: Path) -> str:
    """Return the text of a file.

    Raises:
        SurveyError: it is not UTF-8, or missing.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SurveyError(f"{path} is not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise SurveyError(f"{path} cannot be read: {error.strerror}.") from None


def loaded(path: Path, loads: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return what a TOML or JSON file has.

    Raises:
        SurveyError: it is neither.
    """
    try:
        return loads(text_in(path))
    except ValueError as error:
        raise SurveyError(f"{path} is not valid: {error}.") from None


def locked_lines(path: Path, locked: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the packages of a Pipfile.lock as requirements.

    Raises:
        SurveyError: one is in a folder, which the lock of the stack cannot name.
    """
    for name, about in locked.items():
        extras = f"[{','.join(about['extras'])}]" if about.get("extras") else ""
        source = about.get("file", "")
        if "git" in about:
            source = f"git+{about['git']}@{about.get('ref', 'HEAD')}"
        elif about.get("path") == ".":
            continue  # The project itself.
        elif "path" in about:
            raise SurveyError(
                f"{path} has {name} from the folder {about['path']}. Write a requirements.txt "
                "that has every package with its version or its address."
            )
        version = f" @ {source} " if source else about.get("version", "").replace("*", "")
        markers = f"; {about['markers']}" if about.get("markers") else ""
        yield f"{name}{extras}{version}{markers}".strip()


def lines_of(path: Path, seen: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Yield the requirements of a file, and of those that it includes.

    Raises:
        SurveyError: a requirement is a folder, which the lock cannot name.
    """
    if path in seen:
        return
    for line in text_in(path).replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if match := re.fullmatch(r"(?:-r|--requirement|-c|--constraint)[ =]*(\S+)", line):
            if "://" not in match[1]:
                yield from lines_of((path.parent / match[1]).resolve(), seen | {path.resolve()})
        elif _LOCAL.fullmatch(line):
            raise SurveyError(
                f"{path} has `{line}`, and the stack's lock cannot name a folder. Move the line to "
                "another file, such as requirements/dev.txt, if it is your project itself: the "
                "images have your code. Give another package its address in git."
            )
        elif line and not line.startswith("-"):
            yield line
