"""The table of load test figures in docs/reliability.md."""

from argparse import ArgumentTypeError
from itertools import repeat
from pathlib import Path

import pytest

from tests.chaos.load import Client, Load, Outcome, Request
from tests.chaos.reliability import BEGIN, END, Figures, document_with_marks, write_table


def load_of(*statuses: int) -> Load:
    request = Request("GET", "/")
    client = Client(repeat(request))
    client.outcomes = [Outcome(request, 0.0, 0.5 + i, s) for i, s in enumerate(statuses)]
    return Load(1, [client])


def test_reliability_row_has_the_figures_of_the_load() -> None:
    figures = Figures()
    figures.add("server stopped", "0 failed", load_of(200, 503, 200), "back in 2 s")

    last = figures.table().splitlines()[-1]
    assert last == "| server stopped | 0 failed | 3 | 1 | 2.50 s | back in 2 s |"


def test_reliability_table_replaces_the_previous_one(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")

    write_table(document, "new")

    assert document.read_text() == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"


def test_document_without_table_marks_is_not_changed(tmp_path: Path) -> None:
    document = tmp_path / "other.md"
    document.write_text("text\n")

    with pytest.raises(ValueError, match="no place for the table"):
        write_table(document, "new")

    assert document.read_text() == "text\n"


@pytest.mark.parametrize("content", [None, "text\n"])
def test_reliability_option_refuses_a_document_without_table_marks(
    tmp_path: Path, content: str | None
) -> None:
    document = tmp_path / "other.md"
    if content is not None:
        document.write_text(content)

    with pytest.raises(ArgumentTypeError, match=r"other\.md: "):
        document_with_marks(str(document))
