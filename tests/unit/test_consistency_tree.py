"""The source tree: make targets, scripts, Dockerfiles of the layers, no package registry."""

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

# The machine configures the package registry, not the project.
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


def test_make_help_lists_every_target() -> None:
    phony = phony_targets()
    done = subprocess.run(
        ["make", "--silent", "help"],
        cwd=ROOT,
        # Without MAKEFLAGS of a make that runs these tests.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    listed = dict(re.findall(r"^make ([a-z-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert sorted(listed) == phony
    assert len(done.stdout.splitlines()) == len(listed)


def test_every_make_target_is_phony() -> None:
    """A file of the same name would keep the target from running."""
    targets = re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE)

    assert sorted(targets) == phony_targets()


def phony_targets() -> list[str]:
    """Return the tasks that the Makefile declares phony."""
    lines = re.findall(r"^\.PHONY: ([a-z -]+)", text_of("Makefile"), re.MULTILINE)
    return sorted(" ".join(lines).split())


def test_folders_in_dockerignore_exist_in_a_clone() -> None:
    """So `startapp` refuses their names; an image would lack such an app."""
    folders = re.findall(r"^([a-z]+)/\*\*$", text_of(".dockerignore"), re.MULTILINE)

    assert "backups" in folders
    assert set(folders) <= {path.parts[0] for path in tracked_files()}


def test_ports_in_makefile_compose_and_devcontainer_match_the_contract() -> None:
    assert f"http://127.0.0.1:{VARIABLES['RUN_PORT'].default}/" in text_of("Makefile")
    assert f"http://localhost:{VARIABLES['HTTP_PORT'].default}/" in text_of("docker-compose.yaml")
    forwarded = json.loads(text_of(".devcontainer/devcontainer.json"))["forwardPorts"]
    assert forwarded == [int(VARIABLES[name].default) for name in ("RUN_PORT", "HTTP_PORT")]


def test_only_scripts_are_executable() -> None:
    """Check the mode in git, which a fresh clone gets."""
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


def test_dev_and_production_dockerfiles_differ_only_in_the_layer() -> None:
    """Comments may differ too."""
    dev, production = (
        [(instruction, text.replace(layer, "LAYER")) for instruction, text in dockerfile(name)]
        for layer, name in (("dev", "Dockerfile.dev"), ("production", "Dockerfile.production"))
    )

    # Only words that name the layer are replaced.
    assert text_of("Dockerfile.dev").count("mysite.settings.dev") == 2
    assert dev == production


def test_dockerfile_is_base_and_production_joined() -> None:
    parts = [text_of("Dockerfile.base"), text_of("Dockerfile.production")]

    assert text_of("Dockerfile") == "\n".join(parts), "run: make dockerfile"


@pytest.mark.parametrize("name", ["base", "local", "dev", "production"])
def test_dockerfile_stages_have_unique_names(name: str) -> None:
    """Also in the joined Dockerfile."""
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


def test_dockerignore_admits_every_copied_file() -> None:
    sources = {
        text.split()[0]
        for name in ("base", "local", "dev", "production")
        for command, text in dockerfile(f"Dockerfile.{name}")
        if command == "COPY" and not text.startswith(("--from=", ". "))
    }

    assert sources
    for source in sources:
        assert not is_ignored(source, text_of(".dockerignore")), source


def test_named_python_files_exist() -> None:
    """In comments too, which no other check reads."""
    names = {path.as_posix() for path in tracked_files()}
    # The example app of the docs; a project's app may have the same name.
    tops = {name.partition("/")[0] for name in names} - {"shop"}
    result = []
    for name in names:
        text = (ROOT / name).read_bytes().decode(errors="replace")
        result += [
            f"{name}: {module}"
            for module in re.findall(r"(?<![\w./$-])(?:[\w.-]+/)+[\w-]+\.py\b", text)
            if module.partition("/")[0] in tops and module not in names
        ]

    # Tests often name files that they add to a copy of the tree.
    assert [line for line in result if not line.startswith("tests/")] == []


def test_each_setting_is_assigned_once_in_a_file() -> None:
    for path in (ROOT / "mysite" / "settings").glob("*.py"):
        given = re.findall(r"^([A-Z][A-Z0-9_]*)(?:: [^=\n]+)? = ", path.read_text(), re.MULTILINE)
        assert len(given) == len(set(given)), (path.name, sorted(given))


def test_no_file_names_a_package_registry() -> None:
    result = []
    for name in tracked_files():
        text = (ROOT / name).read_bytes().decode(errors="replace")
        result += [f"{name}: {match[0]}" for match in REGISTRY.finditer(text)]

    assert result == []
