"""Commands, paths, variables, ports and messages in README and docs exist; examples run."""

import os
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import typer
from celery.schedules import crontab

from ops.environment.contract import VARIABLES
from tests.tree import ROOT, tracked_files
from tools.stackctl.cli import app

PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("architecture", "backups", "deploy", "layers")),
    *(ROOT / "docs" / f"{name}.md" for name in ("load-balancing", "migrations", "secrets")),
    *(ROOT / "docs" / f"{name}.md" for name in ("self-healing", "stackctl", "troubleshooting")),
    ROOT / "docs/update.md",
    *sorted((ROOT / "variants").glob("*/README.md")),
]
README = "\n".join(page.read_text() for page in PAGES)
CODE = re.findall(r"`([^`\n]+)`", README) + re.findall(r"^    (\S.*?)(?:  +#.*)?$", README, re.M)


def tracked_names() -> set[str]:
    """Return every file and folder of the tree, folders with a slash at the end."""
    names = set()
    for path in tracked_files():
        names.add(path.as_posix())
        names.update(f"{folder.as_posix()}/" for folder in path.parents)
    return names


def test_make_targets_in_docs_exist() -> None:
    listed = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    targets = {line.split()[1] for line in listed.splitlines()}
    named = {word.split()[1] for word in CODE if re.fullmatch(r"make [a-z-]+", word)}

    assert {"run", "test", "bench", "help"} <= named
    assert named <= targets


def test_stackctl_commands_and_options_in_docs_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = "\n".join(page.read_text() for page in (*PAGES, *(ROOT / "docs").glob("*.md")))
    named = re.findall(r"\./stackctl(?: --host \S+)? +([a-z]+)([^\n`#|<>;&()]*)", text)

    assert len(named) > 50
    assert {name for name, _ in named} <= set(commands)
    for name, arguments in named:
        known = {text for option in commands[name].params for text in option.opts}
        # The arguments of these are another program's.
        if name not in {"env", "exec", "shell"}:
            assert set(re.findall(r"(?<!\S)--[a-z-]+", arguments)) <= known


def test_folders_and_dockerfiles_in_docs_exist() -> None:
    names = tracked_names()
    mentioned = {word for word in CODE if re.fullmatch(r"[A-Za-z.][\w./-]*/", word)}
    dockerfiles = set(re.findall(r"`(Dockerfile[.\w]*)`", README))

    assert mentioned and dockerfiles
    assert mentioned <= names
    assert dockerfiles <= names


def test_links_in_docs_point_to_an_existing_file_and_heading() -> None:
    names = tracked_names()
    pages = [ROOT / path for path in tracked_files() if path.suffix == ".md"]
    links = [
        (page, *link)
        for page in pages
        for link in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text())
    ]

    assert len(links) > 50
    for page, file, heading in links:
        target = page.parent / file if file else page
        name = os.path.relpath(target, ROOT)
        assert name in names or f"{name}/" in names, (page, file)
        assert not heading or heading in headings(target.read_text()), (page, heading)


def headings(text: str) -> set[str]:
    """Return the anchors of a page, as on GitHub."""
    result = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in result}


def test_variables_in_docs_exist() -> None:
    words = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", README))
    assigned = set(re.findall(r"\b([A-Z][A-Z0-9_]{3,})=", README))

    # Variables of make and copier.
    assert "$(WITH)" in (ROOT / "Makefile").read_text()
    assigned -= {"WITH", "NAME", "PYTHON"}
    assert words and assigned
    for name in words | assigned:
        assert name.removesuffix("_FILE") in VARIABLES, name


def test_ports_in_docs_match_the_contract() -> None:
    ports = set(re.findall(r"(?:localhost|127\.0\.0\.1):(\d+)", README))

    names = (
        *("HTTP_PORT", "HTTPS_PORT", "STATS_PORT", "RUN_PORT"),
        *("NGINX_BALANCER_PORT", "NGINX_PORT", "APACHE_PORT"),
    )
    assert ports == {VARIABLES[name].default for name in names}


def test_sample_password_in_docs_matches_the_contract() -> None:
    assert f"`{VARIABLES['STATS_PASSWORD'].default_in('local')}` in the local layer" in README


@pytest.mark.parametrize(
    ("message", "source"),
    [
        ("No server is free to answer", "templates/errors.conf"),
        ("The database is not available", "ops/errors.py"),
        ("this Python cannot make a virtual environment", "requirements/install"),
        ("refused user", "ops/database/outage.py"),
        ("did not answer within", "ops/database/outage.py"),
    ],
)
def test_messages_quoted_in_docs_match_the_source(message: str, source: str) -> None:
    assert message in README
    assert message in (ROOT / source).read_text()


def test_env_commands_in_docs_exist() -> None:
    named = {line.split()[2] for line in CODE if line.startswith("./manage.py env ")}

    assert {"check", "init"} <= named
    for command in named:
        answer = subprocess.run(
            [sys.executable, "manage.py", "env", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        assert answer.returncode == 0


def test_periodic_task_example_in_docs_runs() -> None:
    section = (ROOT / "docs/tasks.md").read_text().partition("## Periodic tasks")[2]
    example = re.findall(r"(?:^(?: {4}.*)?\n)+", section, re.M)
    names: dict[str, Any] = {}

    exec(textwrap.dedent(next(filter(str.strip, example))), names)

    assert isinstance(names["CELERY_BEAT_SCHEDULE"]["send reminders"]["schedule"], crontab)
