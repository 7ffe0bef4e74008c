"""A new project on MySQL, without the demo: the commands of docs/new-project.md work."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from ops.environment.contract import VARIABLES
from tests.adopt.template import commit, copy_template, create_template, run_command
from tests.ports import free_port
from tests.waiting import eventually


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a project with the default answers and Elastic Beanstalk."""
    folder = tmp_path_factory.mktemp("new_stack")
    answers = {"name": "shop", "beanstalk": "true"}
    copy_template(create_template(folder / "source"), folder / "shop", answers)
    # The containers' users read the files that are mounted.
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    commit(folder / "shop")
    return folder / "shop"


def test_make_run_of_a_new_project_serves_the_site_without_docker(project: Path) -> None:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    log = project.parent / "run.log"
    with log.open("w") as output:
        make = subprocess.Popen(
            ["make", "run"],
            cwd=project,
            env={**environment, "RUN_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def profile() -> str:
        assert make.poll() is None, log.read_text()
        with urlopen(f"http://127.0.0.1:{port}/profile/", timeout=10) as answer:
            return str(json.load(answer)["settings"])

    try:
        # Generous: the packages are downloaded and installed.
        assert eventually(profile, seconds=300, what="make run answers") == "local"
    finally:
        os.killpg(make.pid, signal.SIGINT)
        make.wait(30)


def test_ebctl_lint_of_a_new_project_passes(project: Path) -> None:
    output = run_command(project, sys.executable, "-m", "tools.ebctl", "lint").output

    assert output == ""


def test_tests_of_a_new_project_pass(project: Path) -> None:
    """Its apps' tests, and the smoke test: probes, static files, sign-in, a deploy under load."""
    command = (sys.executable, "-m", "pytest", "-q", "accounts", "api", "tests")
    output = run_command(project, *command).output

    assert " passed" in output and "skipped" not in output and "failed" not in output
