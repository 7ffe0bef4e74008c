"""requirements/: one version of each package everywhere, locked by hash, without an index."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from tests.tree import ROOT

FOLDER = ROOT / "requirements"
# base.in includes the team's packages, project.in.
SOURCES = sorted({path.stem for path in FOLDER.glob("*.in")} - {"project"})
# The team's Debian packages.
DEBIAN = {"apt", "apt-build"}
# Installed into separate environments, because they pin older versions.
SEPARATE = {"eb"}
PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^\s;\\]+)( ; [^\\]+?)? \\")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")


def normal(name: str) -> str:
    """Return a package's name as the locked files write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def required(name: str) -> frozenset[str]:
    """Return the packages that an .in file requires, with those of included files."""
    result: set[str] = set()
    for line in (FOLDER / f"{name}.in").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            result |= required(Path(text.removeprefix("-r ")).stem)
        elif text:
            result.add(normal(re.split(r"[<>=~!\[; ]", text)[0]))
    return frozenset(result)


@cache
def included(name: str) -> frozenset[str]:
    """Return the files that an .in file includes."""
    lines = (FOLDER / f"{name}.in").read_text().splitlines()
    names = {Path(line.split()[1]).stem for line in lines if line.startswith("-r ")}
    return frozenset(names & set(SOURCES))


def lines_of(name: str) -> list[str]:
    """Return the lines of a locked file."""
    return (FOLDER / f"{name}.txt").read_text().splitlines()


@cache
def locked(name: str) -> dict[str, str]:
    """Return the packages of a locked file and their versions."""
    return {match[1]: match[2] for line in lines_of(name) if (match := PIN.fullmatch(line))}


def test_each_requirements_source_has_a_lock_file() -> None:
    locks = {path.stem for path in FOLDER.glob("*.txt")} - DEBIAN
    assert sorted(locks) == SOURCES
    assert {"base", "local", "production", "test"} <= set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_lock_file_has_only_pinned_versions_and_hashes(name: str) -> None:
    """No index, no address, no path: pip --require-hashes accepts the file."""
    hashes = 0
    for number, line in enumerate(lines_of(name), start=1):
        where = f"{name}.txt:{number}: {line}"
        if PIN.fullmatch(line):
            assert number == 1 or hashes, where
            hashes = 0
        else:
            match = HASH.fullmatch(line)
            assert match, where
            hashes += 1
            # Only the last hash of a package has no backslash.
            following = lines_of(name)[number : number + 1]
            last = not following or PIN.fullmatch(following[0]) is not None
            assert (match[1] is None) is last, where
    assert hashes


def test_each_package_has_one_version_in_all_lock_files() -> None:
    """Whatever Python and platform its lines are for."""
    versions: dict[str, set[str]] = {}
    for name in sorted(set(SOURCES) - SEPARATE):
        for line in lines_of(name):
            if match := PIN.fullmatch(line):
                versions.setdefault(match[1], set()).add(match[2])

    assert {package: result for package, result in versions.items() if len(result) > 1} == {}


def wheel(folder: Path, name: str, version: str) -> None:
    """Write an empty package."""
    head = f"{name}-{version}.dist-info"
    files = {
        f"{head}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{head}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            sha = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
            lines.append(f"{path},sha256={sha.rstrip('=')},{len(text)}")
        archive.writestr(f"{head}/RECORD", "\n".join([*lines, f"{head}/RECORD,,"]) + "\n")


@pytest.mark.parametrize("options", [(), ("--upgrade",)])
def test_lock_script_gives_a_package_one_version_in_all_files(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Also where one source requires an older version; eb.in is separate."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    for version in ("1.0", "2.0", "3.0"):
        wheel(tmp_path, "shared", version)
    sources = {"base": "-r project.in", "project": "shared", "test": "-r base.in\nshared<3"}
    for name, text in {**sources, "eb": "shared<2"}.items():
        (folder / f"{name}.in").write_text(f"{text}\n")
    (folder / "base.txt").write_text("shared==3.0\n")
    shutil.copy(FOLDER / "lock", folder)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))

    subprocess.run(
        [folder / "lock", *options],
        env={**os.environ, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path)},
        check=True,
    )

    pins = {path.stem: path.read_text().split()[0] for path in folder.glob("*.txt")}
    assert pins == {"base": "shared==2.0", "test": "shared==2.0", "eb": "shared==1.0"}


def test_lock_script_names_a_conflict_and_changes_no_lock_file(tmp_path: Path) -> None:
    folder = tmp_path / "requirements"
    folder.mkdir()
    wheel(tmp_path, "shared", "1.0")
    (folder / "base.in").write_text("-r project.in\nshared>=2\n")
    (folder / "project.in").write_text("shared==1.0\n")
    (folder / "base.txt").write_text("shared==2.0\n")
    shutil.copy(FOLDER / "lock", folder)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))

    done = subprocess.run(
        [folder / "lock"],
        env={**os.environ, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1 and (folder / "base.txt").read_text() == "shared==2.0\n"
    assert "shared==1.0 and shared>=2" in done.stderr
    assert "Change what your project requires; no lock file was changed" in done.stderr


def test_every_package_of_the_application_has_an_oldest_version() -> None:
    """An older one that a project requires is refused, rather than fail in the containers."""
    lines = [line.partition("#")[0] for line in (FOLDER / "base.in").read_text().splitlines()]
    packages = [line for line in lines if line.strip() and not line.startswith("-r")]
    assert [line for line in packages if not re.search("[>~]=", line)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_lock_file_has_every_package_of_its_source(name: str) -> None:
    assert required(name)
    assert required(name) <= set(locked(name))


@pytest.mark.parametrize("name", SOURCES)
def test_lock_file_has_the_versions_of_included_sources(name: str) -> None:
    for other in included(name):
        assert locked(other).items() <= locked(name).items(), f"{other} is not whole in {name}"


def test_every_layer_has_the_application_packages() -> None:
    for name in ("local", "production", "embedded", "test"):
        assert locked("base").items() <= locked(name).items(), name


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"base", "production"}))
def test_production_has_no_tool_of_other_environments(name: str) -> None:
    tools = required(name) - required("production")

    assert tools
    assert not tools & set(locked("production"))
