"""The table of docs/reliability.md: the figures of each load test, with machine and date."""

import os
import platform
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.load import Load

BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
HEADINGS = ("scenario", "must hold", "requests", "failed", "longest", "seen")


@dataclass(frozen=True)
class Row:
    """The figures of one scenario."""

    scenario: str
    must_hold: str
    requests: int
    failed: int
    longest_seconds: float
    seen: str

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of HEADINGS."""
        return (
            self.scenario,
            self.must_hold,
            f"{self.requests:,}",
            f"{self.failed:,}",
            f"{self.longest_seconds:.2f} s",
            self.seen,
        )


@dataclass
class Figures:
    """The rows of one run."""

    rows: list[Row] = field(default_factory=list)

    def add(self, scenario: str, must_hold: str, load: Load, seen: str = "") -> None:
        """Add the figures of a load, and print them.

        Args:
            scenario: the fault or the command.
            must_hold: the claim that the test asserts.
            load: the load that ran meanwhile.
            seen: other measurements, such as the seconds until recovery.
        """
        longest = max((outcome.seconds for outcome in load.outcomes), default=0.0)
        print(load.summary())
        self.note(
            scenario,
            must_hold,
            requests=len(load.outcomes),
            failed=len(load.failed),
            longest=longest,
            seen=seen,
        )

    def note(
        self,
        scenario: str,
        must_hold: str,
        *,
        requests: int,
        failed: int,
        longest: float,
        seen: str,
    ) -> None:
        """Add figures that a test counted itself, and print them; `longest` is in seconds."""
        row = Row(scenario, must_hold, requests, failed, longest, seen)
        self.rows.append(row)
        print(": ".join(row.cells()))

    def table(self) -> str:
        """Return the machine, the date and the rows as Markdown."""
        lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in self.rows)]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{describe_machine()}, {datetime.now(UTC):%Y-%m-%d}.\n\n{rows}"


def describe_machine() -> str:
    """Return the size of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def document_with_marks(name: str) -> Path:
    """Check the document of the option before the tests run for hours.

    Raises:
        argparse.ArgumentTypeError: it cannot be read, or does not have both marks in order.
    """
    try:
        split(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{name}: {error}") from error
    return Path(name)


def write_table(document: Path, table: str) -> None:
    """Replace the table between the two marks of the document.

    Raises:
        ValueError: the document does not have both marks in order.
    """
    before, after = split(document.read_text())
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def split(text: str) -> tuple[str, str]:
    """Return the text before and after the table."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the table between {BEGIN} and {END}")
    return before, after
