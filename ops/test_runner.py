"""`manage.py test`: pytest, which runs test functions as well as Django's TestCase classes."""

from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError


class PytestRunner:
    """What TEST_RUNNER names.

    https://pytest-django.readthedocs.io/en/latest/faq.html#how-can-i-use-manage-py-test-with-pytest-django

    Args:
        verbosity: Django's, from 0 to 3.
        failfast: whether the first failure ends the run.
        options: Django's other options, of which `keepdb` is used.
    """

    def __init__(self, *, verbosity: int = 1, failfast: bool = False, **options: Any) -> None:
        self.options = ["-p", "no:cacheprovider", *["--exitfirst"][: int(failfast)]]
        self.options += {0: ["--quiet"], 1: []}.get(verbosity, ["--verbose"])
        self.options += ["--reuse-db"] if options.get("keepdb") else ["--create-db"]

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """Take --keepdb."""
        parser.add_argument("--keepdb", action="store_true", help="keep the tests' database")

    def run_tests(self, labels: Sequence[str], **options: Any) -> int:
        """Run the tests of these apps, modules or files, by default those of the project's apps.

        Returns:
            pytest's exit code, which Django takes for the number of failures.

        Raises:
            CommandError: pytest is not installed.
        """
        if not find_spec("pytest"):
            raise CommandError(
                "pytest is not installed here. Run the tests on your machine (make test-app), or "
                "in the local layer's stack (docker compose exec server1 python manage.py test)."
            )
        import pytest

        return int(pytest.main([*self.options, *map(path_of, labels or own_apps())]))


def own_apps() -> list[str]:
    """Return the apps in the project's folder, without the stack's own."""
    own = [config for config in apps.get_app_configs() if config.name != "ops"]
    return [config.name for config in own if Path(config.path).parent == settings.SOURCE_ROOT]


def path_of(label: str) -> str:
    """Return the path of a test label; a path stays as it is."""
    path = label.replace(".", "/")
    if Path(label).exists() or "::" in label:
        return label
    return path if Path(path).exists() else f"{path}.py"
