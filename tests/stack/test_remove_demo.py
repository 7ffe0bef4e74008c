"""A project without the demo: it has no word of it, its checks pass, and its stack is healthy."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME
from tests.stack.stackctl.site import Site, clear
from tests.tree import copy_tree

# Words that only the demo has.
WORDS = r"\bdemo\b|remove_demo|api/hits|api/uploads|thumbnail|pillow|megapixel|visit counter"
# Of the unit tests those that read the whole tree, the settings, the API and the status page.
UNIT_TESTS = (
    "consistency_tree",
    "settings_table",
    "readme",
    "api_schema",
    "api_status",
    "registry",
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project in which `remove_demo` has run."""
    folder = copy_tree(tmp_path_factory.mktemp("without") / "site")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    run(folder, "git", "init", "--quiet")
    (folder / ".git/info/exclude").write_text(".venv\n")
    run(folder, "git", "add", "--all")
    run(folder, "git", *author, "commit", "--quiet", "--message", "all of it")
    run(folder, sys.executable, "manage.py", "remove_demo")
    run(folder, "git", "add", "--all")
    return folder


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command, which must end with this code; return what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout[-8000:]
    return done.stdout


def test_no_word_of_it_is_left(clone: Path) -> None:
    assert run(clone, "git", "grep", "-niE", WORDS, code=1) == ""


def test_lint_and_unit_tests_pass(clone: Path) -> None:
    run(clone, "tests/lint")
    files = [f"tests/unit/test_{name}.py" for name in UNIT_TESTS]
    run(clone, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "accounts", *files)
    # The others can at least be loaded.
    run(clone, sys.executable, "-m", "pytest", "-q", "--collect-only", "tests")


def test_its_stack_is_healthy_and_serves_its_status_page(clone: Path) -> None:
    site = Site(clone, f"{STACK_NAME}-bare")
    clear(site)
    try:
        site.up()
        assert site.get("/healthz").json()["status"] == "up"
        assert site.get("/status/").status_code == 200
        code = "import importlib.util as u; print(u.find_spec('PIL'), u.find_spec('demo'))"
        assert site.python_in("server1", code) == "None None"
        assert site.get("/api/uploads/").status_code == site.get("/api/hits/").status_code == 404
    finally:
        clear(site)


def test_uncommitted_work_is_refused_with_the_next_step(tmp_path: Path) -> None:
    folder = copy_tree(tmp_path / "site")
    run(folder, "git", "init", "--quiet")

    said = run(folder, sys.executable, "manage.py", "remove_demo", code=1)

    assert "uncommitted changes. Commit them" in said and "Traceback" not in said
    assert (folder / "demo").is_dir()
