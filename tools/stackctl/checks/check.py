"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `problem` is empty when it passed."""

    name: str
    fact: str = ""
    problem: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Return whether it is right."""
        return not self.problem

    def as_dict(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "name": self.name,
            "ok": self.ok,
            "fact": self.fact,
            "problem": self.problem,
            "next": self.hint,
        }
