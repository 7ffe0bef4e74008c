"""How `make test` distributes tests over processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_tests_of_an_xdist_group_run_in_one_process(tmp_path: Path) -> None:
    """So tests that share a stack start it once."""
    options = re.search(r"^SIDE_BY_SIDE := (.+)$", text_of("Makefile"), re.MULTILINE)
    assert options
    (tmp_path / "test_groups.py").write_text(TESTS)
    command = (sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-p", "no:cacheprovider")
    # Without the pytest options of the outer run.
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), *options[1].split(), "test_groups.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout
    for group in ("one", "two"):
        workers = (tmp_path / group).read_text().split()
        assert len(workers) == 8
        assert len(set(workers)) == 1
