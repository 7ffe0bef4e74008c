"""`make words`: every text that the product shows, one a line: file:line, kind, text.

Python: strings of two words or more, those that a keyword such as `help` receives, and the
docstrings of commands. Also the text of templates, JavaScript strings, what shell scripts print,
the texts of server configurations, and the Makefile's help.
"""

from __future__ import annotations

import ast
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Folders with nothing that a user sees.
SKIPPED = re.compile(r"^(tests|benchmarks|docs|requirements|\.ci)/|/(tests|migrations)/")
SHOWN = {"about", "description", "fact", "help", "help_text", "hint", "label", "message"}
SHOWN |= {"problem", "summary", "title", "verbose_name"}
KINDS = {"Section": "contract", "Variable": "contract", "described": "api", "Fault": "error"}
KINDS |= dict.fromkeys(("critical", "debug", "error", "exception", "info", "warning"), "log")
TWO_WORDS = re.compile(r"[A-Za-z]{2}[^ ]* .*?[A-Za-z]{2}")
CODE = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|ALTER|CREATE|DROP|SET)\b|\(\?[:P]|\\[bsdw]")
QUOTED = re.compile(r"""(["'`])((?:\\.|(?!\1|\\)[^\n])*)\1""")
Text = tuple[int, str, str]


def main() -> None:
    """Print the texts of the files that the arguments name, or of the whole tree."""
    command = ["git", "ls-files", "--", *sys.argv[1:]]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    for name in names.splitlines():
        if not SKIPPED.search(name) and (ROOT / name).is_file():
            for line, kind, text in dict.fromkeys(texts(name)):
                print(f"{name}:{line} {kind:8} {' '.join(text.split())}")


def texts(name: str) -> Iterator[Text]:
    """Yield the texts of one file, by its type."""
    source = (ROOT / name).read_text(errors="replace")
    first = source.partition("\n")[0]
    if name.endswith(".py") or "python" in first:
        yield from in_python(ast.parse(source), "text", shown=False)
    elif name == "Makefile":
        yield from matches(r"^[a-z-]+:.*?##()\s(.*)", "help", source)
    elif name.endswith((".html", ".txt")) and "templates/" in name:
        yield from in_template(re.sub(r"\{%.*?%\}|\{#.*?#\}", " ", without_styles(source)))
    elif name.endswith((".js", ".cfg", ".conf", ".lua")):
        plain = re.sub(r"(?m)^[ \t]*(//|#|--|\*|.use strict).*$", "", source)
        yield from (one for one in matches(QUOTED, "page", plain) if TWO_WORDS.search(one[2]))
    elif re.match(r"#!.*sh\b", first) or name.endswith(".sh"):
        yield from matches(
            r"(?s)(?:echo|printf|fail|die) (['\"])((?:(?!\1).)+ (?:(?!\1).)+)\1", "log", source
        )


def matches(pattern: str | re.Pattern[str], kind: str, source: str) -> Iterator[Text]:
    """Yield each second group of the pattern, with its line."""
    for match in re.finditer(pattern, source, 0 if isinstance(pattern, re.Pattern) else re.M):
        yield source.count("\n", 0, match.start(2)) + 1, kind, match[2]


def without_styles(source: str) -> str:
    """Return the source with empty lines in place of styles, so that the line numbers stay."""
    return re.sub(r"(?s)<style.*?</style>", lambda match: "\n" * match[0].count("\n"), source)


def in_template(source: str) -> Iterator[Text]:
    """Yield each line's text and its titles, without tags."""
    for number, line in enumerate(source.splitlines(), 1):
        labels = re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]+)"', line)
        for text in (*labels, html.unescape(re.sub(r"<[^>]*>", " ", line))):
            if re.search("[A-Za-z]{2}", re.sub(r"\{\{.*?\}\}", "", text)):
                yield number, "page", text


def in_python(node: ast.AST, kind: str, *, shown: bool) -> Iterator[Text]:
    """Yield the strings below a node. The nearest call around a string decides its kind."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        text = node.value if isinstance(node, ast.Constant) else ast.unparse(node)[2:-1]
        said = isinstance(text, str) and not CODE.search(text) and text
        if said and (shown or TWO_WORDS.search(said)):
            yield node.lineno, kind, said
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
        words = ast.get_docstring(node)
        node.body = node.body[words is not None :]
        decorators = "".join(map(ast.unparse, getattr(node, "decorator_list", ())))
        if isinstance(node, ast.FunctionDef) and words and ".command" in decorators:
            yield node.lineno, "help", words
    elif isinstance(node, ast.Raise):
        kind = "error"
    elif isinstance(node, ast.Call):
        kind = KINDS.get(ast.unparse(node.func).rpartition(".")[2], kind)
    elif isinstance(node, ast.keyword):
        shown = node.arg in SHOWN
    for child in ast.iter_child_nodes(node):
        yield from in_python(child, kind, shown=shown and not isinstance(node, ast.Call))


if __name__ == "__main__":
    main()
