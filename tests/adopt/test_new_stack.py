"""A new project's own tests, which start its stack and deploy it under load."""

import sys
from pathlib import Path

from tests.adopt.template import commit, copy, run, template_of


def test_tests_of_a_new_project_pass(tmp_path: Path) -> None:
    """On PostgreSQL and RabbitMQ; the default parts are what tests/stack runs."""
    folder = tmp_path / "shop"
    template = template_of(tmp_path / "source")
    copy(template, folder, {"name": "shop", "database": "postgres", "broker": "rabbitmq"})
    commit(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    # The containers' users read the files that are mounted.
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)

    said = run(folder, sys.executable, "-m", "pytest", "-q", "accounts", "api", "tests").output

    assert " passed" in said and "skipped" not in said and "failed" not in said
