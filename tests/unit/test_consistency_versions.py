"""Versions that several files name are the same in all of them."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from ops import VERSION
from tests.conftest import ENGINE_HELP
from tests.tree import ROOT, tracked_files
from tests.unit.config_files import COMPOSE_FILES, compose_file, text_of
from tools.stackctl.checks import preflight
from tools.stackctl.docker.engine import version_numbers


def tags() -> dict[str, set[str]]:
    """Return the tags of each image that the compose files pull."""
    result = defaultdict(set)
    for name in COMPOSE_FILES:
        for service in compose_file(name).get("services", {}).values():
            image, _, tag = service.get("image", "").partition(":")
            if tag and "$" not in image:
                result[image].add(tag)
    return result


def tags_in(image: str, text: str) -> set[str]:
    """Return the image tags in a text; a number of three or more digits is a port."""
    tag = r"(v?\d\d?(?:\.\d+)*(?:-alpine)?)(?![\w:])"
    return set(re.findall(rf"(?<![\w./@-]){re.escape(image)}:{tag}", text))


# The version that tests/stack/test_postgres_upgrade.py moves to.
NEXT = {"postgres": {"18"}}


def test_each_image_has_one_tag_in_all_files() -> None:
    """In compose files, tests, README and docs."""
    expected = tags()
    assert {"mysql", "postgres", "redis", "haproxy", "httpd", "rabbitmq"} <= expected.keys()
    assert {image: len(result) for image, result in expected.items()} == dict.fromkeys(expected, 1)

    differing = {
        (str(path), image): result
        for path in tracked_files()
        if path.suffix in (".md", ".py", ".sh", ".yaml", ".yml", "")
        for text in [(ROOT / path).read_text(encoding="utf-8", errors="replace")]
        for image, tag in expected.items()
        if (result := tags_in(image, text) - tag - NEXT.get(image, set()))
    }

    assert differing == {}


@pytest.mark.parametrize(
    "text", ["redis:8.0", "`redis:8.0`.", '"redis:8.0"', "redis:8.0 redis:6379", "redis:8.0,"]
)
def test_image_tag_is_distinguished_from_a_port(text: str) -> None:
    assert tags_in("redis", text) == {"8.0"}


def flat(name: str) -> str:
    """Return a file's text in one line."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def test_docs_name_the_engine_and_compose_versions_that_stackctl_requires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, plugin = (
        ".".join(map(str, result)) for result in (preflight.ENGINE, preflight.COMPOSE)
    )

    assert f"Docker Engine {engine} or newer with Compose {plugin} or newer" in ENGINE_HELP
    assert f"Docker Engine {engine} or newer with Compose {plugin} or newer" in flat("README.md")
    assert f"`docker compose version` should say {plugin} or newer" in flat(
        "docs/troubleshooting.md"
    )
    assert f"Engine {engine}, Compose {plugin} and Buildx or newer" in flat("docs/stackctl.md")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert f"Install Docker Engine {engine} or newer" in preflight._client().hint


def python() -> str:
    """Return the oldest supported Python."""
    wanted: str = tomllib.loads(text_of("pyproject.toml"))["project"]["requires-python"]
    return wanted.removeprefix(">=")


@pytest.mark.parametrize(
    "name", ["README.md", "docs/stackctl.md", "Makefile", "manage.py", "requirements/install"]
)
def test_docs_name_the_python_version_of_the_project(name: str) -> None:
    version = python()

    assert f"Python {version} or newer" in flat(name)
    named = re.findall(r"(?:Python |is too old: )(3\.\d+) or newer", flat(name))
    assert set(named) == {version}


def install(
    folder: Path, version: str, command: Path = ROOT / "requirements/install", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installer with a fake Python of this version."""
    result = tuple(map(int, version.split(".")))
    stand_in = folder / "python"
    stand_in.write_text(f"""#!/bin/sh
case $1 in
--version) echo Python {version} ;;
-c) exec {sys.executable} -c 'import sys; sys.version_info = {result}; exec(sys.argv[1])' "$2" ;;
*) echo "python $*" >&2; exit 9 ;;
esac
""")
    stand_in.chmod(0o755)
    return subprocess.run(
        [command, "test", str(folder / "new")],
        env={"PATH": os.environ["PATH"], "PYTHON": str(stand_in), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_installer_requires_the_python_version_of_the_project(tmp_path: Path) -> None:
    major, minor = map(int, python().split("."))
    older = f"{major}.{minor - 1}.99"

    refused = install(tmp_path, older)
    accepted = install(tmp_path, f"{major}.{minor}.0")

    assert refused.returncode == 1
    assert f"Python {older} is too old: {python()} or newer is needed" in refused.stderr
    # It creates the environment with this Python.
    assert accepted.returncode == 9
    assert accepted.stderr == f"python -m venv --clear {tmp_path}/new\n"


def test_installer_requires_python_3_12_for_django_6(tmp_path: Path) -> None:
    """Also where the environment exists already, with an older Python."""
    command = tmp_path / "requirements/install"
    command.parent.mkdir()
    shutil.copy(ROOT / "requirements/install", command)
    (tmp_path / "requirements/test.txt").write_text("django==6.0.10 \\\n")
    (tmp_path / "new/bin").mkdir(parents=True)

    refused = install(tmp_path, "3.11.7", command)
    (tmp_path / "new/bin/python").symlink_to(tmp_path / "python")
    existing = install(tmp_path, "3.11.7", command)
    (tmp_path / "new/bin/python").unlink()
    accepted = install(tmp_path, "3.12.0", command)

    assert refused.returncode == existing.returncode == 1
    assert "Django 6 does not run on Python 3.11.7. Install Python 3.12" in refused.stderr
    assert refused.stderr == existing.stderr
    assert accepted.stderr == f"python -m venv --clear {tmp_path}/new\n"


def test_installer_compiles_packages_only_where_python_does_not(tmp_path: Path) -> None:
    (tmp_path / "new/bin").mkdir(parents=True)
    (tmp_path / "new/bin/python").symlink_to(tmp_path / "python")
    pip = tmp_path / "new/bin/pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)

    later, now = (
        install(tmp_path, "3.13.0", PYTHONDONTWRITEBYTECODE=value).stdout.split()
        for value in ("", "1")
    )

    assert "--no-compile" in later and "--compile" not in later
    assert "--compile" in now and "--no-compile" not in now


def test_manage_py_on_an_older_python_names_the_version_and_the_next_step() -> None:
    major, minor = map(int, python().split("."))
    script = (
        f"import runpy, sys; sys.version_info = ({major}, {minor - 1}, 9); "
        "sys.argv = ['manage.py', 'env', 'check']; runpy.run_path('manage.py', run_name='__main__')"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"manage.py: Python {python()} or newer is needed")
    assert "make setup" in done.stderr and "Traceback" not in done.stderr


def test_awsebcli_version_in_the_workflow_matches_requirements() -> None:
    (pin,) = re.findall(r"^awsebcli==.+$", text_of("requirements/eb.in"), re.MULTILINE)

    assert f"--spec {pin} " in text_of(".github/workflows/deploy-elastic-beanstalk.yml")


def test_changelog_begins_with_the_version_of_the_stack() -> None:
    versions = re.findall(r"^## \[(.+)\] - \d{4}-\d\d-\d\d$", text_of("CHANGELOG.md"), re.MULTILINE)

    assert versions[0] == VERSION
    assert versions == sorted(set(versions), key=version_numbers, reverse=True)
