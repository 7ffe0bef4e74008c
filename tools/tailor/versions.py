"""Which series of Django a project's requirements accept."""

import re
from collections.abc import Iterable
from typing import Final

# The stack runs on these; the first that a project accepts is its own.
SERIES: Final = ((5, 2), (6, 0), (6, 1))
_PATCHES: Final = range(100)


class SurveyError(Exception):
    """The project cannot be adopted as it is; the message says why, and the next step."""


def series_of(packages: Iterable[str]) -> str:
    """Return the first series that the requirement of Django accepts, such as "6.1".

    Raises:
        SurveyError: it accepts none of them.
    """
    wanted = [match[1] for line in packages if (match := _DJANGO.match(line))]
    for series in SERIES:
        if any(all(accepts(spec, (*series, patch)) for spec in wanted) for patch in _PATCHES):
            return ".".join(map(str, series))
    names = ", ".join(".".join(map(str, series)) for series in SERIES)
    raise SurveyError(
        f"Django{','.join(filter(None, wanted))} is required, and the stack runs on Django "
        f"{names}. Update the project first: "
        "https://docs.djangoproject.com/en/5.2/howto/upgrade-version/"
    )


_DJANGO: Final = re.compile(
    r"django\s*(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?[^;#]*)?)\s*(?:;.*|$)", re.I
)


def accepts(specifier: str, version: tuple[int, ...]) -> bool:
    """Return whether a version is within a specifier such as ">=5.2,<6"."""
    for operator, text in re.findall(r"([=<>!~]+)\s*(\d+(?:\.\d+)*(?:\.\*)?)", specifier):
        numbers = tuple(int(part) for part in text.removesuffix(".*").split("."))
        padded = (*numbers, *(0,) * (3 - len(numbers)))
        same = version[: len(numbers)] == numbers if text.endswith("*") else version == padded
        if not {
            "==": same,
            "===": same,
            "!=": not same,
            ">=": version >= padded,
            "<=": version <= padded,
            ">": version > padded,
            "<": version < padded,
            "~=": version >= padded and version[: len(numbers) - 1] == numbers[:-1],
        }.get(operator, True):
            return False
    return True
