"""The table of docs/reliability.md: what each load test counted, on which machine and day."""

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
    """What one scenario counted."""

    scenario: str
    must_hold: str
    requests: int
    failed: int
    longest_seconds: float
    seen: str

    def cells(self) -> tuple[str, ...]:
        """Return the table's cells, in the order of HEADINGS."""
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
        """Keep what a load counted, and print it.

        Args:
            scenario: what was done, as a person would say it.
            must_hold: the claim that the test asserts.
            load: the load that ran meanwhile.
            seen: what else was measured, such as the seconds until recovery.
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
        """Keep what a test counted itself, and print it; `longest` is in seconds."""
        row = Row(scenario, must_hold, requests, failed, longest, seen)
        self.rows.append(row)
        print(": ".join(row.cells()))

    def table(self) -> str:
        """Return the rows as Markdown, below the machine and the day."""
        lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in self.rows)]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{machine()}, {datetime.now(UTC):%Y-%m-%d}.\n\n{rows}"


def machine() -> str:
    """Describe this machine's size."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def document_with_place(name: str) -> Path:
    """Return the document of an option, before hours are spent on figures for it.

    Raises:
        argparse.ArgumentTypeError: it cannot be read, or has not both marks, in order.
    """
    try:
        split(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{name}: {error}") from error
    return Path(name)


def put_into(document: Path, table: str) -> None:
    """Replace the table between the document's two marks.

    Raises:
        ValueError: the document does not have both marks, in order.
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
