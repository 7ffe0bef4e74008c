"""Each command of README and docs has a row in tests/commands.toml, whose test has its words."""

import ast
import re
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from tests.documents import ASSIGNMENTS, commands, commands_of
from tests.tree import ROOT
from tests.unit.config_files import text_of

TABLE: dict[str, dict[str, list[str]]] = tomllib.loads(text_of("tests/commands.toml"))
RUN = {**TABLE["tests"], **TABLE["stand-ins"]}
# Each command with its tests, and the words in which each test runs it.
ROWS: dict[str, list[tuple[str, str]]] = {}
for test, listed in RUN.items():
    for row in listed:
        command, _, words = row.partition(" => ")
        ROWS.setdefault(command, []).append((test, words or command))
NOT_HERE = [row for listed in TABLE["not-here"].values() for row in listed]

# In one process, so that each file of tests is read once.
pytestmark = pytest.mark.xdist_group("documented")


def matches(command: str, row: str) -> bool:
    """Return whether a row without a test is this command's; only the * at its end is special."""
    return fnmatchcase(command, f"{row[:-1].replace('[', '[[]')}*" if row.endswith("*") else row)


@cache
def imported(path: Path) -> set[Path]:
    """Return the modules of tests that a file imports, and the fixtures' files above it."""
    lines = re.findall(
        r"^from (tests(?:\.\w+)*) import (?:\(([^)]*)\)|(.*))", path.read_text(), re.MULTILINE
    )
    names = [
        f"{package}{end}"
        for package, several, one in lines
        for end in ("", *(f".{name}" for name in re.findall(r"\w+", several or one)))
    ]
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in names}
    files |= {folder / "conftest.py" for folder in path.parents if ROOT in folder.parents}
    return {file for file in files if file.is_file()}


@cache
def definitions(path: Path) -> dict[str, list[ast.AST]]:
    """Return each function, method and value of a file by its name, for a class what calls run."""
    body = ast.parse(path.read_text()).body
    methods = [node for each in body if isinstance(each, ast.ClassDef) for node in each.body]
    result: dict[str, list[ast.AST]] = {}
    for node in (*body, *methods):
        if isinstance(node, ast.FunctionDef):
            result.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            called = [m for m in node.body if getattr(m, "name", "") in {"__init__", "__call__"}]
            result.setdefault(node.name, []).extend(called)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    result.setdefault(target.id, []).append(node)
    return result


@cache
def definitions_for(file: str) -> dict[str, list[ast.AST]]:
    """Return what a test file can use; its own definitions hide those of other files."""
    files = [ROOT / "tests" / file]
    for path in files:
        files += sorted(imported(path) - set(files))
    every = [definitions(path).items() for path in reversed(files)]
    return {name: nodes for items in every for name, nodes in items if nodes}


@cache
def text_and_names(node: ast.AST) -> tuple[str, set[str]]:
    """Return the text of a definition, and the names in it."""
    keys = ("id", "attr", "arg")
    names = {getattr(part, key, "") for part in ast.walk(node) for key in keys}
    return ast.unparse(node), names - {"", None}


@cache
def source(test: str) -> str:
    """Return the text of a test, and of the functions, fixtures and values that it uses."""
    file, _, name = test.partition("::")
    known, todo = definitions_for(file), {name}
    texts: dict[str, str] = {}
    while todo:
        name = todo.pop()
        used = [text_and_names(node) for node in known.get(name, ())]
        texts[name] = "\n".join(text for text, _ in used)
        todo.update(*(names for _, names in used))
        todo -= texts.keys()
    return "\n".join(texts.values())


def words_of(command: str) -> list[str]:
    """Return the words of a command that are not a program's, an example's or a file's name."""
    variables = re.findall(r"([A-Z][A-Z0-9_]*)=", ASSIGNMENTS.match(f"{command} ")[0])  # type: ignore[index]
    words = ASSIGNMENTS.sub("", f"{command} ", count=1).split()
    programs = 2 if words[:2] == ["docker", "compose"] else 1
    text = " ".join(words[programs:])
    return variables + re.findall(r"(?<!\S)(?:--?)?[a-z][a-z-]*(?=[\s=]|$)", text)


def test_each_command_of_the_docs_has_a_row() -> None:
    assert len(commands()) > 300
    missing = {
        command: pages
        for command, pages in commands().items()
        if command not in ROWS and not any(matches(command, row) for row in NOT_HERE)
    }
    assert missing == {}, "name the test of each in tests/commands.toml, or why there is none"


def test_each_row_is_of_a_command_of_the_docs() -> None:
    assert [command for command in ROWS if command not in commands()] == []
    assert [row for row in NOT_HERE if not any(matches(each, row) for each in commands())] == []
    assert [row for row in NOT_HERE if row in ROWS] == []


@pytest.mark.parametrize("test", RUN)
def test_test_of_a_row_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("command", ROWS)
def test_tests_of_a_command_have_its_words(command: str) -> None:
    for test, words in ROWS[command]:
        # After => also words with other characters.
        wanted = words_of(words) if words == command else words.split()
        missing = [
            word
            for word in wanted
            if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", source(test))
        ]
        assert missing == [], f"{test} does not run it so; if it has other words, add => and them"


def test_commands_are_found_in_blocks_and_between_backticks() -> None:
    page = """
Run `docker compose up --build`, `stackctl up` and `manage.py NAME`; not `docker compose` or `git`.

    sudo ./stackctl status   # a comment
    cd shop && make run
    TOKEN=$(curl -s x | cut -d y)
    cat >file <<END
    docker of the file
    END
    docker run \\
        --rm image
    17 3 * * * cd /srv && ./stackctl backup --scheduled
    DB_NAME=x

    import docker
    docker.run()
"""
    assert list(commands_of(page)) == [
        *("./stackctl status", "cd shop", "make run", "curl -s x | cut -d y", "cat >file <<END"),
        *("docker run --rm image", "cd /srv", "./stackctl backup --scheduled"),
        *("docker compose up --build", "./stackctl up", "./manage.py NAME"),
    ]
