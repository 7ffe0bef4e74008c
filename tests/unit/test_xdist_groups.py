"""How `make test` distributes tests over processes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.tree import ROOT
from tests.unit.config_files import text_of

TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("group", [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("one", "two")
])
def test_group(group, number):
    Path(group).open("a").write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


STACKS = """
import pytest
from tests.conftest import pytest_runtest_teardown

def log(text):
    with open("log", "a") as file:
        file.write(text + " ")

def stack(name):
    @pytest.fixture(scope="session", name=name)
    def running():
        log("up-" + name)
        yield name
        log("down-" + name)
    return running

local, production = stack("local"), stack("production")
"""
USERS = """
import pytest
from conftest import log

@pytest.mark.xdist_group("local")
@pytest.mark.parametrize("number", range(2))
def test_local(local, number):
    log("test")

@pytest.mark.xdist_group("production")
def test_production(production):
    log("test")

@pytest.mark.xdist_group("other")
def test_other():
    log("test")
"""


TIMES = """
import pytest

def test_page():
    pass

@pytest.mark.alone
def test_rate():
    pass
"""


def test_tests_of_an_xdist_group_run_in_one_process(tmp_path: Path) -> None:
    """So tests that share a stack start it once."""
    (tmp_path / "test_groups.py").write_text(TESTS)

    run_like_make_test(tmp_path)

    for group in ("one", "two"):
        workers = (tmp_path / group).read_text().split()
        assert len(workers) == 8
        assert len(set(workers)) == 1


def test_shared_stack_ends_with_its_group(tmp_path: Path) -> None:
    """So no stack that idles takes processor time from the others."""
    (tmp_path / "conftest.py").write_text(STACKS)
    (tmp_path / "test_stacks.py").write_text(USERS)

    run_like_make_test(tmp_path, "-n", "1")

    log = (tmp_path / "log").read_text().split()
    assert sorted(log) == sorted(
        ["up-local", *["test"] * 4, "down-local", "up-production", "down-production"]
    )
    for name, other in (("local", "production"), ("production", "local")):
        between = log[log.index(f"up-{name}") : log.index(f"down-{name}")]
        assert f"up-{other}" not in between, log


def test_tests_that_run_alone_are_left_out(tmp_path: Path) -> None:
    """A second command of `make test` runs them one at a time."""
    (tmp_path / "test_times.py").write_text(TIMES)

    collected = run_like_make_test(tmp_path, "--collect-only", "--quiet")

    assert "test_page" in collected and "test_rate" not in collected
    assert (
        "pytest -m alone tests/stack tests/chaos\n" in text_of("Makefile").partition("\ntest: ")[2]
    )


def run_like_make_test(folder: Path, *options: str) -> str:
    """Run the tests in a folder with the options of `make test`, and return the output."""
    side_by_side = re.search(r"^SIDE_BY_SIDE := (.+)$", text_of("Makefile"), re.MULTILINE)
    assert side_by_side
    command = (sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-p", "no:cacheprovider")
    # Without the pytest options of the outer run.
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *shlex.split(side_by_side[1]), *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
