"""Marks: comments that name the part of the project to which a line, or several, belong.

A line that ends with `remove_PART` is the part's, and so are the lines from `remove_PART: begin` to
`remove_PART: end`.
"""

import re
from typing import Final

# A comment of Python, YAML, TOML and shell, of Markdown, or of Lua.
_OPENS: Final = r"(?:#|<!--|--) "
_CLOSES: Final = r"(?: -->)?"


def cut(text: str, part: str) -> str:
    """Return the text without the lines that belong to a part."""
    mark = f"remove_{part}"
    # Most files have none, and the patterns below read each line.
    if mark not in text:
        return text
    block = re.compile(
        rf"(\n*)^[ \t]*{_OPENS}{mark}: begin{_CLOSES}$.*?{_OPENS}{mark}: end{_CLOSES}\n(\n*)",
        re.M | re.S,
    )
    left = re.sub(rf"^.*{_OPENS}{mark}{_CLOSES}\n", "", block.sub(_gap, text), flags=re.M)
    return left if left == text else left.rstrip("\n") + "\n"


def _gap(block: re.Match[str]) -> str:
    """Return the larger of the gaps before and after a block."""
    # None before: the block before it was cut as well.
    return max(block[1], "\n" + block[2], key=len) if block[1] else block[2]


def unmark(text: str, part: str) -> str:
    """Return the text with a part's lines, without its marks."""
    mark = f"remove_{part}"
    if mark not in text:
        return text
    left = re.sub(rf"^[ \t]*{_OPENS}{mark}: (?:begin|end){_CLOSES}\n", "", text, flags=re.M)
    return re.sub(rf" *{_OPENS}{mark}{_CLOSES}$", "", left, flags=re.M)


def without_packages(text: str, packages: list[str]) -> str:
    """Return a locked requirements file without these packages; no mark can be in it."""
    names = "|".join(map(re.escape, packages))
    return re.sub(rf"^(?:{names})==.*\n(?:    .*\n)+", "", text, flags=re.M) if names else text
