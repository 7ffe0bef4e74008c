"""What is wrong with the environment, in words that say what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: where, what, and a hint. Never a secret's value."""

    name: str
    problem: str
    hint: str
    # The variable that is missing because of it, whose own fault is not worth a second message.
    explains: str = ""

    def __str__(self) -> str:
        """Return the fault as one line, with its hint on a second."""
        return f"{self.name}: {self.problem}\n    {self.hint}"


def with_explanations(faults: Iterable[Fault], explanations: Collection[Fault]) -> list[Fault]:
    """Return faults and what explains some of them, each mistake once."""
    named = {name for fault in explanations for name in (fault.name, fault.explains)}
    return [*(fault for fault in faults if fault.name not in named), *explanations]


class InvalidValueError(ValueError):
    """A value that its variable does not accept; carries problem and hint, never the variable."""

    def __init__(self, problem: str, hint: str) -> None:
        """Keep the two halves apart, so that each is shown in its place."""
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def report(faults: Iterable[Fault], layer: str) -> str:
    """Return all faults as one readable message."""
    listed = list(faults)
    count = "1 fault" if len(listed) == 1 else f"{len(listed)} faults"
    lines = [f"The environment is not valid for the {layer} layer: {count}."]
    for fault in listed:
        lines.extend(f"  {line}" for line in str(fault).splitlines())
    return "\n".join(lines)
