"""Fixtures of the container tests: a fresh clone and the shared stacks."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.reliability import document_with_marks
from tests.stack.bench import Bench, run_bench
from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment
from tests.stack.stackctl.site import Site, removed_afterwards
from tests.tree import copy_tree

HERE = Path(__file__).parent
NEED_AN_ENGINE = (HERE / "stack", HERE / "chaos", HERE / "browser", HERE / "eb", HERE / "adopt")
# Tests that share a stack, or a clone with `make run`.
GROUPED = (*NEED_AN_ENGINE, HERE / "embedded")
NEED_A_BROWSER = (
    HERE / "browser",
    HERE / "adopt/test_check.py",
    HERE / "adopt/test_wagtail.py",
)
SHARED_STACKS = ("bench", "clone", "loaded", "local", "postgres", "production", "site", "streaming")
ENGINE_HELP = (
    "no Docker Engine answers (`docker info` and `docker compose version`). Install Docker Engine "
    "25 or newer with Compose 2.30 or newer, start it, then run: make test"
)
BROWSER_HELP = (
    "Chromium is not installed (`chromium --version`). Install it, on Debian by "
    "`apt-get install chromium`, then run: make test"
)

# HAProxy checks once a second. tests/chaos uses the default, under load.
QUICK_DRAIN = {"DRAIN_SECONDS": "1"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the document that receives the figures of the load tests."""
    parser.addoption(
        "--reliability",
        type=document_with_marks,
        help="the document to put the load tests' figures into",
    )


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Return the content of a value that pytest would only number, such as a dict."""
    if isinstance(val, dict):
        text = " ".join(f"{name}={value}" for name, value in val.items())
    elif isinstance(val, list | tuple):
        text = ", ".join(map(str, val))
    elif isinstance(val, BaseException):
        text = f"{type(val).__name__}: {val}"
    else:
        return None
    # An address would differ in each process of pytest-xdist.
    return None if " at 0x" in text else text[:60] or "none"


def engine_answers() -> bool:
    """Return whether this machine can run containers."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fail if REQUIRE_STACK_TESTS is set and the engine or the browser is missing."""
    if not os.environ.get("REQUIRE_STACK_TESTS"):
        return
    for is_available, hint in ((engine_answers, ENGINE_HELP), (chromium, BROWSER_HELP)):
        if not is_available():
            pytest.exit(f"REQUIRE_STACK_TESTS is set, but {hint}", returncode=1)


def chromium() -> str | None:
    """Return the path of the installed browser; tests download none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


# First, since xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests whose engine or browser is missing."""
    for item in tests_in(items, GROUPED):
        item.add_marker(pytest.mark.xdist_group(stack_group(item)))
    skip_unless(tests_in(items, NEED_AN_ENGINE), engine_answers, ENGINE_HELP)
    skip_unless(tests_in(items, NEED_A_BROWSER), chromium, BROWSER_HELP)


def tests_in(items: list[pytest.Item], folders: tuple[Path, ...]) -> list[pytest.Item]:
    """Return the tests in these folders and files."""
    paths = {item.path for item in items}
    within = {path for path in paths if set(folders) & {path, *path.parents}}
    return [item for item in items if item.path in within]


def skip_unless(items: list[pytest.Item], is_available: Callable[[], object], hint: str) -> None:
    """Skip these tests if their requirement is missing, unless REQUIRE_STACK_TESTS is set.

    Then pytest_sessionstart has checked, and a second check could have another result.
    """
    if not items or os.environ.get("REQUIRE_STACK_TESTS") or is_available():
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason=hint))


def stack_group(item: pytest.Item) -> str:
    """Return the stack that a test shares with others, so that one worker starts it once.

    https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """
    shared = set(SHARED_STACKS) & set(getattr(item, "fixturenames", ()))
    return min(shared, default=item.path.stem)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End a shared stack after the last test of its group, rather than with the session.

    The health checks of stacks that idled took one of two cores. Only xdist runs a group's tests in
    a row, and pytest has no scope and no public function for this: a fixture that ends so starts
    again if a later test requests it.
    """
    if not hasattr(item.config, "workerinput") or nextitem is None:
        return
    if isinstance(item, pytest.Function) and stack_group(item) != stack_group(nextitem):
        for name in SHARED_STACKS:
            for fixture in item.session._fixturemanager.getfixturedefs(name, item) or ():
                fixture.finish(item._request)  # type: ignore[arg-type]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report how many tests were skipped, and how to run them."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    for kind, hint in (("container", ENGINE_HELP), ("browser", BROWSER_HELP)):
        if count := sum(hint in reason for reason in skipped):
            terminalreporter.write_line(
                f"LEFT OUT: {count} {kind} tests, because {hint}", yellow=True
            )


@pytest.fixture(scope="session")
def remove_test_images() -> Iterator[None]:
    """Remove the tests' images at the end; the build cache keeps their layers."""
    yield
    # By name, since an identical image of another run has the same id.
    names = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{STACK_NAME}-*")
    for image in names.split():
        # Fails for an image that a parallel test run uses; it stays.
        with suppress(subprocess.CalledProcessError):
            docker("image", "rm", "--force", image)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, remove_test_images: None) -> Path:
    """Create a fresh clone, which a test may edit."""
    clone = copy_tree(tmp_path_factory.mktemp("clone"))
    # The users of the containers read the mounted clone.
    for folder in (clone, *clone.parents[:2]):
        folder.chmod(0o755)
    return clone


@pytest.fixture(scope="session")
def production_image(tree: Path) -> str:
    """Build the production image, and return its name."""
    stack = Stack(tree, "production")
    stack.compose("build", "env-check")
    return stack.image


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """Start the local layer as `docker compose up` does, with a shorter drain."""
    # All tests sign in from one address.
    yield from Stack(tree, "local", **QUICK_DRAIN, THROTTLE_LOGIN="off").running()


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """Start the production layer without the redirect to https, since it has no certificate."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        **QUICK_DRAIN,
        # All tests send requests from one address.
        THROTTLE_ANON="100000/minute",
        **secret_environment(),
    )
    yield from stack.running()


@pytest.fixture(scope="session")
def bench(tree: Path) -> Iterator[Bench]:
    """Start HAProxy, Apache and nginx, as balancer and as a server, with scripted upstreams."""
    yield from run_bench(tree)


@pytest.fixture(scope="session")
def streaming(tree: Path) -> Iterator[Stack]:
    """Start the production layer with APP_SERVER=asgi and pages that stream."""
    # Not at the top: the image, in which unit tests run on a real database, lacks its packages.
    from tests.stack.streaming import run_streaming

    yield from run_streaming(tree)


@pytest.fixture(scope="session")
def postgres(tree: Path) -> Iterator[Site]:
    """Start the production layer with DB_ENGINE=postgres."""
    # All tests sign in from one address.
    unlimited = {"THROTTLE_ANON": "100000/minute", "THROTTLE_LOGIN": "off"}
    name = f"{STACK_NAME}-pg"
    site = Site(tree, name, DB_ENGINE="postgres", DRAIN_SECONDS="1", **unlimited)
    with removed_afterwards(site):
        site.up()
        yield site
