"""The names that a project cannot have."""

import keyword
import re
import sys
from typing import Final

LONGEST: Final = 20
# Users and groups of Debian, which the images have, and of the databases.
_ACCOUNTS: Final = (
    "adm admin audio backup bin cdrom daemon dialout dip disk fax floppy games guest irc kmem list "
    "lp mail man news nobody nogroup operator plugdev postgres proxy root sasl shadow src staff "
    "sudo sync sys tape tty users utmp uucp video voice "
    # Databases that every server has.
    "information_schema performance_schema template0 template1"
)


def fault(name: str, files: dict[str, bytes]) -> str:
    """Return why a name cannot be a project's, or nothing."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        return (
            f"{name!r} is not a valid project name. Use a Python identifier of small letters, "
            f"digits "
            "and single underscores, such as shop or book_club."
        )
    if len(name) > LONGEST:
        return f"{name!r} is too long for a project's name: use {LONGEST} characters at most."
    for reason, names in (
        ("a module of Python's standard library", sys.stdlib_module_names | {"test"}),
        ("a folder of the stack", {path.partition("/")[0] for path in files if "/" in path}),
        ("a package that the stack imports", imported(files) | installed(files)),
        ("a user or group of the images or of a database", _ACCOUNTS.split()),
    ):
        if name in names and name != "mysite":
            return f"{name!r} is {reason}. Choose another name for the project."
    return ""


def imported(files: dict[str, bytes]) -> set[str]:
    """Return the top-level names that Python files import."""
    pattern = re.compile(rb"^\s*(?:from|import) (\w+)", re.M)
    modules = (content for path, content in files.items() if path.endswith(".py"))
    return {name.decode() for content in modules for name in pattern.findall(content)}


def installed(files: dict[str, bytes]) -> set[str]:
    """Return what the locked packages are imported as, by their usual names."""
    pattern = re.compile(rb"^([\w.-]+)==", re.M)
    locks = (
        content for path, content in files.items() if re.fullmatch(r"requirements/.*\.txt", path)
    )
    names = {name.decode().replace("-", "_") for text in locks for name in pattern.findall(text)}
    return names | {name.removeprefix("django_") for name in names}
