"""One thing that is wrong: where, what, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """A line of the linter; it prints as `file:line: message [rule]`."""

    file: str
    # 0 where the file as a whole is meant.
    line: int
    message: str
    rule: str

    def __str__(self) -> str:
        """Return the line."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message} [{self.rule}]"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for a misspelt word, with a space before it; or nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.75)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
