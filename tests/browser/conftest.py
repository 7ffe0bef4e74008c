"""Chromium, driven by Playwright, against the running stacks."""

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
    """Rerun tests that failed because a network interface was added or removed.

    Chromium then aborts all requests, and other tests create and remove container networks.
    https://github.com/microsoft/playwright-python/issues/1226
    """
    rerun = pytest.mark.flaky(reruns=2, only_rerun=[NETWORK_CHANGED])
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(rerun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail with NETWORK_CHANGED if that error occurred, so that the test is rerun."""
    try:
        yield
    finally:
        browser_errors = item.stash.get(BROWSER_ERRORS, None)
        if browser_errors is not None and NETWORK_CHANGED in "".join(browser_errors.messages):
            browser_errors.messages.clear()
            raise AssertionError(f"{NETWORK_CHANGED}: a network interface was added or removed")


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Run Chromium during the block.

    Playwright's event loop runs in this thread, so Django refuses database queries in it.
    """
    # Chromium's sandbox does not work as root, nor in most containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Share one browser between all tests; each test has its own context."""
    with launched_browser() as browser:
        yield browser


@dataclass
class BrowserErrors:
    """Errors and warnings in the browser: scripts, blocked sources, failed requests."""

    messages: list[str] = field(default_factory=list)
    # Set by tests that make requests fail.
    network_expected: bool = False

    def watch(self, page: Page) -> None:
        """Collect the errors and warnings of a page."""
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.messages.append(str(error)))

    def on_console(self, message: ConsoleMessage) -> None:
        """Keep errors and warnings, unless the test expects them."""
        expected = self.network_expected and "Failed to load resource" in message.text
        if message.type in ("error", "warning") and not expected:
            self.messages.append(f"{message.type}: {message.text} ({message.location['url']})")


BROWSER_ERRORS = pytest.StashKey[BrowserErrors]()


@pytest.fixture
def browser_errors(request: pytest.FixtureRequest) -> Iterator[BrowserErrors]:
    """Assert at the end of the test that the browser reported no errors."""
    browser_errors = request.node.stash[BROWSER_ERRORS] = BrowserErrors()
    yield browser_errors
    assert browser_errors.messages == []


@pytest.fixture
def context(browser: Browser, browser_errors: BrowserErrors) -> Iterator[BrowserContext]:
    """Open a desktop browser context without cookies."""
    width, height = DESKTOP
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(15_000)
    context.on("page", browser_errors.watch)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Open an empty tab."""
    return context.new_page()


@pytest.fixture(scope="session")
def local_user(local: Stack) -> Stack:
    """Add a staff user to the local stack."""
    local.python_in("server1", MAKE_USER)
    return local


@pytest.fixture(scope="session")
def production_user(production: Stack) -> Stack:
    """Add a staff user to the production stack."""
    production.python_in("server1", MAKE_USER)
    return production


def sign_in(page: Page, stack: Stack) -> None:
    """Sign in, and wait for the status page."""
    page.goto(stack.url("/accounts/login/"))
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text(f"Signed in as {USER}").wait_for()
    # The scripts handle the form once the page is loaded.
    page.wait_for_load_state("load")
