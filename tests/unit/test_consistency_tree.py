"""The tree itself: the tasks, the scripts, the layers' Dockerfiles, no registry named."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from ops.environment.contract import VARIABLES
from tests.tree import ROOT, tracked_files
from tests.unit.config_files import dockerfile, text_of
from tools.ebctl.lint.container import is_ignored

# Where packages come from is the machine's own configuration, never the project's.
REGISTRY = re.compile(
    r"""
      pypi\.(?:org|python\.org)
    | pythonhosted\.org
    | (?:deb|ftp|security|snapshot|archive|cdn-fastly)[\w.-]*\.debian\.org
    | (?:archive|security|ports)\.ubuntu\.com
    | registry\.(?:npmjs\.org|yarnpkg\.com)
    | (?:registry-1|index|hub)\.docker\.(?:io|com)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def test_help_lists_every_task() -> None:
    phony = phony_tasks()
    done = subprocess.run(
        ["make", "--silent", "help"],
        cwd=ROOT,
        # Not as a part of the make that may run these tests.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    listed = dict(re.findall(r"^make ([a-z-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert sorted(listed) == phony
    assert len(done.stdout.splitlines()) == len(listed)


def test_every_task_is_declared_phony() -> None:
    """Or a file of that name would keep it from running."""
    targets = re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE)

    assert sorted(targets) == phony_tasks()


def phony_tasks() -> list[str]:
    """Return the tasks that the Makefile declares phony."""
    lines = re.findall(r"^\.PHONY: ([a-z -]+)", text_of("Makefile"), re.MULTILINE)
    return sorted(" ".join(lines).split())


def test_folders_that_no_image_has_exist_in_each_clone() -> None:
    """So `startapp` refuses their names: without its app no image could be built."""
    folders = re.findall(r"^([a-z]+)/\*\*$", text_of(".dockerignore"), re.MULTILINE)

    assert "backups" in folders
    assert set(folders) <= {path.parts[0] for path in tracked_files()}


def test_ports_that_are_told_are_the_contract_s() -> None:
    assert f"http://127.0.0.1:{VARIABLES['RUN_PORT'].default}/" in text_of("Makefile")
    assert f"http://localhost:{VARIABLES['HTTP_PORT'].default}/" in text_of("docker-compose.yaml")
    forwarded = json.loads(text_of(".devcontainer/devcontainer.json"))["forwardPorts"]
    assert forwarded == [int(VARIABLES[name].default) for name in ("RUN_PORT", "HTTP_PORT")]


def test_a_script_can_be_run() -> None:
    """As git keeps it, so that a fresh clone can too."""
    listing = subprocess.run(
        ["git", "ls-files", "--stage", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    modes = {entry.partition("\t")[2]: entry.split()[0] for entry in listing.split("\0") if entry}
    scripts = {name.as_posix() for name in tracked_files() if starts_with(name, b"#!")}

    assert {"manage.py", "supervisor/entrypoint"} <= scripts
    for name in scripts:
        mode = modes.get(name)
        assert os.access(ROOT / name, os.X_OK) if mode is None else mode == "100755", name
    for name, mode in modes.items():
        assert mode != "100755" or name in scripts, f"{name} is no script"


def starts_with(name: Path, start: bytes) -> bool:
    """Return whether a file starts with these bytes."""
    with (ROOT / name).open("rb") as file:
        return file.read(len(start)) == start


def test_dev_has_production_s_shape() -> None:
    """The two Dockerfiles differ in the layer's name, and in comments."""
    dev, production = (
        [(instruction, text.replace(layer, "LAYER")) for instruction, text in dockerfile(name)]
        for layer, name in (("dev", "Dockerfile.dev"), ("production", "Dockerfile.production"))
    )

    # Of these words, those that name the layer are replaced and no others.
    assert text_of("Dockerfile.dev").count("mysite.settings.dev") == 2
    assert dev == production


def test_the_joined_dockerfile_is_its_two_parts() -> None:
    parts = [text_of("Dockerfile.base"), text_of("Dockerfile.production")]

    assert text_of("Dockerfile") == "\n".join(parts), "run: make dockerfile"


@pytest.mark.parametrize("name", ["base", "local", "dev", "production"])
def test_stages_have_names_of_their_own(name: str) -> None:
    """The joined Dockerfile has no two of a name."""
    stages = [
        text.split(" AS ")[1]
        for command, text in dockerfile(f"Dockerfile.{name}")
        if command == "FROM"
    ]
    base = [
        text.split(" AS ")[1]
        for command, text in dockerfile("Dockerfile.base")
        if command == "FROM"
    ]

    assert len(set(stages)) == len(stages)
    assert name == "base" or not set(stages) & set(base)


def test_the_copied_files_reach_the_build() -> None:
    """.dockerignore lets in what the Dockerfiles copy."""
    sources = {
        text.split()[0]
        for name in ("base", "local", "dev", "production")
        for command, text in dockerfile(f"Dockerfile.{name}")
        if command == "COPY" and not text.startswith(("--from=", ". "))
    }

    assert sources
    for source in sources:
        assert not is_ignored(source, text_of(".dockerignore")), source


def test_modules_that_are_named_are_there() -> None:
    """In comments as well, which nothing else reads."""
    names = {path.as_posix() for path in tracked_files()}
    # The documents' example app has the name that a project's own may have.
    tops = {name.partition("/")[0] for name in names} - {"shop"}
    found = []
    for name in names:
        text = (ROOT / name).read_bytes().decode(errors="replace")
        found += [
            f"{name}: {module}"
            for module in re.findall(r"(?<![\w./$-])(?:[\w.-]+/)+[\w-]+\.py\b", text)
            if module.partition("/")[0] in tops and module not in names
        ]

    # Those of the tests are often about a copy of the tree, to which they add.
    assert [line for line in found if not line.startswith("tests/")] == []


def test_a_setting_is_given_once_in_a_file() -> None:
    for path in (ROOT / "mysite" / "settings").glob("*.py"):
        given = re.findall(r"^([A-Z][A-Z0-9_]*)(?:: [^=\n]+)? = ", path.read_text(), re.MULTILINE)
        assert len(given) == len(set(given)), (path.name, sorted(given))


def test_no_file_names_a_package_registry() -> None:
    found = []
    for name in tracked_files():
        text = (ROOT / name).read_bytes().decode(errors="replace")
        found += [f"{name}: {match[0]}" for match in REGISTRY.finditer(text)]

    assert found == []
