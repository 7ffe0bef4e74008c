"""A real browser before the real stacks: this machine's own Chromium, driven by Playwright."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.conftest import chromium
from tests.stack.compose import Stack

USER, PASSWORD = "someone", "secret-of-the-test"
MAKE_USER = f"""
import django
django.setup()
from django.contrib.auth import get_user_model
users = get_user_model().objects
user, _ = users.get_or_create(username={USER!r}, is_staff=True, is_superuser=True)
user.set_password({PASSWORD!r})
user.save()
"""
DESKTOP, PHONE = (1440, 900), (360, 740)
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try once more what failed because a network of the machine came or went meanwhile.

    Chromium breaks off all that it loads then, and other tests start and end containers, each with
    a network of its own. https://github.com/microsoft/playwright-python/issues/1226
    """
    again = pytest.mark.flaky(reruns=2, only_rerun=[NETWORK_CHANGED])
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(again)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Name a changed network as the cause, whatever failed in the test because of it."""
    try:
        yield
    finally:
        complaints = item.stash.get(COMPLAINTS, None)
        if complaints is not None and NETWORK_CHANGED in "".join(complaints.found):
            complaints.found.clear()
            raise AssertionError(f"{NETWORK_CHANGED}: a network of this machine came or went")


@contextmanager
def launched() -> Iterator[Browser]:
    """Start this machine's Chromium for the block's time.

    Meanwhile Playwright's event loop runs in this thread, where Django refuses its database.
    """
    # Chromium's sandbox does not work for root, and in few containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has a context of its own."""
    with launched() as browser:
        yield browser


@dataclass
class Complaints:
    """What the browser complains about: script errors, refused sources, answers that failed."""

    found: list[str] = field(default_factory=list)
    # A test that takes the network away expects to read of it.
    network_expected: bool = False

    def watch(self, page: Page) -> None:
        """Collect the page's complaints."""
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.found.append(str(error)))

    def on_console(self, message: ConsoleMessage) -> None:
        """Keep what is no mere information."""
        expected = self.network_expected and "Failed to load resource" in message.text
        if message.type in ("error", "warning") and not expected:
            self.found.append(f"{message.type}: {message.text} ({message.location['url']})")


COMPLAINTS = pytest.StashKey[Complaints]()


@pytest.fixture
def complaints(request: pytest.FixtureRequest) -> Iterator[Complaints]:
    """At the end of the test there must be none."""
    complaints = request.node.stash[COMPLAINTS] = Complaints()
    yield complaints
    assert complaints.found == []


@pytest.fixture
def context(browser: Browser, complaints: Complaints) -> Iterator[BrowserContext]:
    """A visitor at a desk, who has never been here."""
    width, height = DESKTOP
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(15_000)
    context.on("page", complaints.watch)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab."""
    return context.new_page()


@pytest.fixture(scope="session")
def local_user(local: Stack) -> Stack:
    """The local stack, with a user who can sign in."""
    local.python_in("server1", MAKE_USER)
    return local


@pytest.fixture(scope="session")
def production_user(production: Stack) -> Stack:
    """The production stack, with a user who can sign in."""
    production.python_in("server1", MAKE_USER)
    return production


def sign_in(page: Page, stack: Stack) -> None:
    """Sign in on the page for it, and return on the status page."""
    page.goto(stack.url("/accounts/login/"))
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text(f"Signed in as {USER}").wait_for()
    # By then its scripts have taken over the form.
    page.wait_for_load_state("load")
