"""What all container tests share: an engine, a browser, a fresh clone, the stacks, clearing up."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.reliability import document_with_place
from tests.stack.bench import Bench, bench_of
from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment
from tests.tree import copy_tree

HERE = Path(__file__).parent
NEED_AN_ENGINE = (HERE / "stack", HERE / "chaos", HERE / "browser", HERE / "eb", HERE / "adopt")
NEED_A_BROWSER = (
    HERE / "browser",
    HERE / "adopt/test_check.py",
    HERE / "adopt/test_wagtail.py",
)
SHARED_STACKS = ("bench", "local", "production", "site")
ENGINE_HELP = (
    "no Docker Engine answers (`docker info` and `docker compose version`). Install Docker Engine "
    "25 or newer with Compose 2.30 or newer, start it, then run: make test"
)
BROWSER_HELP = (
    "no Chromium is found (`chromium --version`). Install it, on Debian by "
    "`apt-get install chromium`, then run: make test"
)

# Long enough for HAProxy's check, once a second. tests/chaos has the default, under load.
QUICK_DRAIN = {"DRAIN_SECONDS": "1"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where the load tests' figures go."""
    parser.addoption(
        "--reliability",
        type=document_with_place,
        help="the document to put the load tests' figures into",
    )


def engine_answers() -> bool:
    """Return whether containers can be run here."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to leave the container and browser tests out where they are required."""
    if not os.environ.get("REQUIRE_STACK_TESTS"):
        return
    for found, hint in ((engine_answers, ENGINE_HELP), (chromium, BROWSER_HELP)):
        if not found():
            pytest.exit(f"REQUIRE_STACK_TESTS is set, but {hint}", returncode=1)


def chromium() -> str | None:
    """Return the path of this machine's own browser; none is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


# First, since xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine has no engine or browser for."""
    for item in inside(items, NEED_AN_ENGINE):
        item.add_marker(pytest.mark.xdist_group(stack_of(item)))
    leave_out(inside(items, NEED_AN_ENGINE), engine_answers, ENGINE_HELP)
    leave_out(inside(items, NEED_A_BROWSER), chromium, BROWSER_HELP)


def inside(items: list[pytest.Item], folders: tuple[Path, ...]) -> list[pytest.Item]:
    """Return the tests in these folders and files."""
    return [item for item in items if set(folders) & {item.path, *item.path.parents}]


def leave_out(items: list[pytest.Item], found: Callable[[], object], hint: str) -> None:
    """Skip these tests if what they need is not found; where they are required they run, and fail.

    pytest_sessionstart has looked already, and a second look may have another answer.
    """
    if not items or os.environ.get("REQUIRE_STACK_TESTS") or found():
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason=hint))


def stack_of(item: pytest.Item) -> str:
    """Name what a container test shares with others, so that it is started only once.

    https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """
    shared = set(SHARED_STACKS) & set(getattr(item, "fixturenames", ()))
    return min(shared, default=item.path.stem)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, and how to get it."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    for kind, hint in (("container", ENGINE_HELP), ("browser", BROWSER_HELP)):
        if count := sum(hint in reason for reason in skipped):
            terminalreporter.write_line(
                f"LEFT OUT: {count} {kind} tests, because {hint}", yellow=True
            )


@pytest.fixture(scope="session")
def images_cleared_away() -> Iterator[None]:
    """Remove the tests' images at the end; the engine's build cache keeps what they are made of."""
    yield
    # By name: an identical image of another run is the same image under a name of its own.
    names = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{STACK_NAME}-*")
    for image in names.split():
        # One that a second test run in this clone uses stays.
        with suppress(subprocess.CalledProcessError):
            docker("image", "rm", "--force", image)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, images_cleared_away: None) -> Path:
    """A fresh clone, which a test may edit."""
    clone = copy_tree(tmp_path_factory.mktemp("clone"))
    # The local layer mounts it into containers, whose user is not the one who runs the tests.
    for folder in (clone, *clone.parents[:2]):
        folder.chmod(0o755)
    return clone


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """The stack as plain `docker compose up` starts it, but for a quicker end."""
    # All tests are one client, and sign in again and again.
    yield from Stack(tree, "local", **QUICK_DRAIN, THROTTLE_LOGIN="off").running()


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """The production layer, without the redirect to https, which has no certificate here."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        **QUICK_DRAIN,
        # All tests are one client.
        THROTTLE_ANON="100000/minute",
        **secret_environment(),
    )
    yield from stack.running()


@pytest.fixture(scope="session")
def bench(tree: Path) -> Iterator[Bench]:
    """HAProxy, Apache, nginx as the balancer and a server's nginx, before scripted servers."""
    yield from bench_of(tree)
