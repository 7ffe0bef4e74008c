"""Figures at several sizes."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """How figures change with a size.

    Attributes:
        size: what grows.
        names: what was measured at each size, with its unit.
        points: each size and its figures, in the order of the names; the smallest size first.

    """

    size: str
    names: tuple[str, ...]
    points: tuple[tuple[int, tuple[float, ...]], ...]

    def table(self) -> str:
        """Return a table in Markdown; in brackets how many times the first row's figure each is."""
        (_, first), *_ = self.points
        rows = [(self.size, *self.names), ("---",) * (1 + len(self.names))]
        for size, figures in self.points:
            rows.append((f"{size:,}", *map(_cell, figures, first)))
        return "\n".join(_row(row) for row in rows)


def _cell(figure: float, first: float) -> str:
    text = f"{figure:,.0f}" if figure >= 10 or figure == int(figure) else f"{figure:.2g}"
    return f"{text} ({figure / first:.2f})" if first else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
