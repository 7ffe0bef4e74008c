"""Fixtures of all unit tests."""

import gc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test import override_settings

from ops.environment import render
from ops.environment.contract import CONTRACT, PROJECT, PROJECT_SECTION, VARIABLES
from tests.unit.breakers import no_end_of_the_pause, shared  # noqa: F401
from tests.unit.durable import commit, messages  # noqa: F401
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import compose, lock

# tests/stack runs database tests in the image, which has no stackctl.
if find_spec("typer"):
    from tests.authorities import authority  # noqa: F401
    from tests.unit.scripted.backups import away, saved  # noqa: F401
    from tests.unit.scripted.stack import roomy, scripted, stack  # noqa: F401


# Until all modules are loaded, no object of theirs is garbage.
gc.disable()

# Unit tests use only variables of the stack. Remove others before tests are parametrized.
for variable in PROJECT:
    VARIABLES.pop(variable.name, None)

# Settings that a project may change. The validators are those of Django's project template.
PINNED = {
    "LANGUAGE_CODE": "en-us",
    "LANGUAGES": [("en-us", "en-us")],
    "LOGIN_URL": "login",
    "LOGIN_REDIRECT_URL": "status",
    "LOGOUT_REDIRECT_URL": "status",
    "ROOT_URLCONF": "tests.orders",
    "CONTENT_SECURITY_POLICY_PATHS": {},
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": f"django.contrib.auth.password_validation.{name}"}
        for name in (
            "UserAttributeSimilarityValidator",
            "MinimumLengthValidator",
            "CommonPasswordValidator",
            "NumericPasswordValidator",
        )
    ],
}


def pytest_collection_finish() -> None:
    """Let garbage collections leave out what is loaded: they took a quarter of the tests' time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="package", autouse=True)
def pinned() -> Iterator[None]:
    """Use the URLs and settings of the tests, and a contract without variables of the project."""
    without = tuple(section for section in CONTRACT if section is not PROJECT_SECTION)
    with override_settings(**PINNED), pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "CONTRACT", without)
        yield


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use only registry entries of the stack."""
    from ops import registry

    checks = registry.health_checks.items()
    own = {name: check for name, check in checks if check.__module__.startswith("ops.")}
    monkeypatch.setattr(registry, "health_checks", own)
    monkeypatch.setattr(registry, "cards", {})


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the docker client reach no engine: what a test does not script must not touch a stack."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///dev/null")


class Kept:
    """The lock and the record of a stack in memory, instead of in the engine."""

    def __init__(self) -> None:
        """Begin without lock and record."""
        self.holders: dict[str, str] = {}
        self.records: dict[str, str] = {}

    @contextmanager
    def held(self, project: compose.Project, command: str, *, adopt: bool = False) -> Iterator[str]:
        """Hold the lock like lock.held()."""
        if self.holder(project):
            raise StackctlError(f"`stackctl {command}` was refused: {self.holder(project)}")
        self.holders[project.name] = f"`stackctl {command}` of me@here is running"
        try:
            yield ""
        finally:
            del self.holders[project.name]

    def holder(self, project: compose.Project) -> str:
        """Return the holder."""
        return self.holders.get(project.name, "")

    def other_owner(self, _: compose.Project) -> str:
        """Return no other owner."""
        return ""

    def read_record(self, project: compose.Project) -> str:
        """Return the record."""
        return self.records.get(project.name, "")

    def write_record(self, project: compose.Project, text: str) -> None:
        """Write the record."""
        self.records[project.name] = text


@pytest.fixture(autouse=True)
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Keep the lock and the record in memory; the scripted engine has its own."""
    kept = Kept()
    if "scripted" in request.fixturenames:
        return kept
    for name in ("held", "holder", "other_owner", "read_record", "write_record"):
        monkeypatch.setattr(lock, name, getattr(kept, name))
    return kept


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DatabaseWrapper]:
    """Return a fresh SQLite database in a file."""
    name = str(tmp_path / "db.sqlite3")
    # The default database may be MySQL, with its own options.
    settings = {**connections.settings["default"], "NAME": name, "OPTIONS": {}}
    wrapper = DatabaseWrapper(settings)
    with closing(wrapper):
        yield wrapper
