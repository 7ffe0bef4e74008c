"""Make targets that need neither packages nor an engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import run_documented
from tests.tree import ROOT

GENERATED = (
    ".venv/bin/python",
    ".venv-eb/.eb",
    "var/db.sqlite3",
    "var/broker/message",
    "var/.hidden",
)


def test_make_clean_removes_only_generated_files(tmp_path: Path) -> None:
    kept = {
        tmp_path / "Makefile",
        tmp_path / "var/.gitignore",
        tmp_path / "var/stackctl/x/releases",
    }
    for path in kept | {tmp_path / name for name in GENERATED}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copy(ROOT / "Makefile", tmp_path)

    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, capture_output=True, check=True)

    assert {path for path in tmp_path.rglob("*") if path.is_file()} == kept


def script(path: Path, text: str) -> None:
    """Write a shell script that replaces a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_make_lock_installs_the_new_lock_file(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / "requirements/lock", "echo new >>requirements/test.txt")
    script(tmp_path / "requirements/install", 'cp "requirements/$1.txt" ".venv/.$1"')
    locked, installed = tmp_path / "requirements/test.txt", tmp_path / ".venv/.test"
    locked.write_text("old\n")
    installed.parent.mkdir()
    installed.write_text("old\n")
    # Up to date: installed after the lock file was written.
    os.utime(locked, (1, 1))
    os.utime(installed, (2, 2))

    run_documented(tmp_path, os.environ, "make lock")

    assert installed.read_text() == "old\nnew\n"
    installed.unlink()
    run_documented(tmp_path, os.environ, "make setup")
    assert installed.read_text() == "old\nnew\n"


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("make certs", "certs"),
        ("make certs FORCE=1", "certs --force"),
        ("make sbom", "sbom --output var/sbom.json"),
    ],
)
def test_make_starts_stackctl(tmp_path: Path, command: str, started: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / "stackctl", 'echo "$*"')

    assert run_documented(tmp_path, os.environ, command).strip() == started


def test_make_format_prints_only_problems_that_it_does_not_fix(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    script(tmp_path / ".venv/bin/ruff", f'exec "{sys.executable}" -m ruff "$@"')
    (tmp_path / "fixed.py").write_text(f"NAMES = [{', '.join(['12345678'] * 12)}]\n")
    (tmp_path / "left.py").write_text("print(unknown)\n")

    make = ["make", "-s", "-o", ".venv/.test", "format"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert "unknown" in done.stdout
    assert "fixed.py" not in done.stdout
    assert (tmp_path / "fixed.py").read_text().startswith("NAMES = [\n")


def test_lint_skips_deleted_files_that_git_still_lists(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/lint", tmp_path / "tests")
    for name in ("ruff", "mypy", "lint-imports", "python"):
        script(tmp_path / ".venv/bin" / name, "")
    for name in ("shellcheck", "yamllint", "hadolint"):
        script(tmp_path / ".venv/bin" / name, f'for file; do echo "{name} $file"; done')
    for state in ("kept", "deleted"):
        script(tmp_path / f"{state}-script", "")
        (tmp_path / f"{state}.yaml").touch()
        (tmp_path / f"Dockerfile.{state}").touch()
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / ".gitignore").write_text(".venv\n")
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=tmp_path, check=True)
    for name in ("deleted-script", "deleted.yaml", "Dockerfile.deleted"):
        (tmp_path / name).unlink()

    done = subprocess.run(["tests/lint"], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if "--" not in line] == [
        "shellcheck kept-script",
        "shellcheck tests/lint",
        "yamllint kept.yaml",
        "hadolint Dockerfile.kept",
        "tests/lint: 6 files, no fault",
    ]


def test_make_push_adds_sbom_and_provenance_and_prints_the_digest(tmp_path: Path) -> None:
    """For the production image."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("base", "production"):
        (tmp_path / f"Dockerfile.{name}").write_text(f"{name}\n")
    log = f'echo "$*" >>{tmp_path}/calls; [ "$2" != build ] || cat >{tmp_path}/dockerfile'
    script(tmp_path / "docker", f'{log}; [ "$2" != inspect ]')
    script(tmp_path / "git", "echo abc123")

    subprocess.run(
        ["make", "-s", "push", "IMAGE=registry.example/shop:v2"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )

    _, create, build, digest = (tmp_path / "calls").read_text().splitlines()
    assert create == "buildx create --name push --driver docker-container"
    assert {"--sbom=true", "--provenance=mode=max", "--push", "RELEASE=abc123"} <= {*build.split()}
    assert build.endswith(" --tag registry.example/shop:v2 --file - .")
    assert (tmp_path / "dockerfile").read_text() == "base\n\nproduction\n"
    assert digest.endswith("registry.example/shop:v2@{{.Manifest.Digest}}")


LINTERS = {
    "ruff": "app.py",
    "shellcheck": "run",
    "yamllint": ".github/workflows/ci.yml",
    "hadolint": "Dockerfile.dev",
    "jactionlint": ".github/workflows/ci.yml",
    "zizmor": ".github/workflows/ci.yml",
    "check-jsonschema": ".gitlab-ci.yml",
}
TREE_LINTERS = ["mypy", "lint-imports", "python"]


def lint(tree: Path, *names: str, broken: str = "") -> tuple[dict[str, str], int]:
    """Run tests/lint with fake linters; return the files that each checked, and the exit code."""
    for name in (*LINTERS, *TREE_LINTERS):
        script(
            tree / ".venv/bin" / name, f'echo "${{0##*/}} $*" >>.git/log; [ {name} != "$BROKEN" ]'
        )
    (tree / "tests").mkdir(exist_ok=True)
    shutil.copy(ROOT / "tests/lint", tree / "tests")
    for name in {*LINTERS.values(), "other.py", "package/__init__.py"}:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("#!/bin/sh\n" if name == "run" else "")
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/exclude").write_text(".venv\ntests\n")
    done = subprocess.run(
        ["tests/lint", *names],
        cwd=tree,
        env={**os.environ, "BROKEN": broken},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ("then run it again" in done.stderr) == (done.returncode != 0)
    lines = (tree / ".git/log").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines), done.returncode


def test_lint_passes_each_linter_its_files(tmp_path: Path) -> None:
    checked, code = lint(tmp_path)

    assert code == 0 and sorted(checked) == sorted((*LINTERS, *TREE_LINTERS))
    assert all(checked[linter].split().count(file) == 1 for linter, file in LINTERS.items())
    assert "other.py" in checked["ruff"]


def test_lint_of_named_files_checks_only_these(tmp_path: Path) -> None:
    checked, code = lint(tmp_path, "app.py", "run", "gone.yaml")

    assert code == 0 and sorted(checked) == sorted(("ruff", "shellcheck", *TREE_LINTERS))
    assert "app.py" in checked["ruff"] and "other.py" not in checked["ruff"]


@pytest.mark.parametrize("linter", [*LINTERS, *TREE_LINTERS])
def test_lint_fails_when_a_linter_fails(tmp_path: Path, linter: str) -> None:
    assert lint(tmp_path, broken=linter)[1] != 0


def test_make_add_locks_a_package_and_takes_back_one_that_does_not_exist(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / "requirements/install", 'touch ".venv/.$1"')
    script(tmp_path / "requirements/lock", "! grep nonsense requirements/project.in")
    project = tmp_path / "requirements/project.in"
    project.write_text("# yours\nhttpx\n")
    (tmp_path / "requirements/test.txt").touch()
    (tmp_path / ".venv").mkdir()

    def add(package: str) -> int:
        command = ["make", "-s", "add", f"PACKAGE={package}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert [add("django>=5"), add("httpx")] == [0, 0]
    assert project.read_text() == "# yours\nhttpx\ndjango>=5\n"
    assert add("nonsense") != 0 != add("")
    assert project.read_text() == "# yours\nhttpx\ndjango>=5\n"
    assert [path.name for path in project.parent.iterdir() if path.suffix == ".bak"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("test-app", "APP=ovn"), "There is no 'ovn'. Apps: shop. A new one: ./manage.py startapp"),
        (("test-app", "APP=shop ovn/tests.py::test_x"), "There is no 'ovn/tests.py::test_x'."),
        (("push",), "Name the image: make push IMAGE=registry/name:tag"),
        (("add",), "Name the package: make add PACKAGE=httpx"),
    ],
)
def test_missing_or_wrong_argument_is_answered_with_the_next_step(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("shop/apps.py", "requirements/embedded.txt", ".venv/.embedded"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    script(tmp_path / ".venv/bin/pytest", "echo ran")

    done = subprocess.run(
        ["make", "-s", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2 and says in done.stderr
    assert not done.stdout
