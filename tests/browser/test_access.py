"""Accessibility: WCAG rules, keyboard, phone, dark mode, reduced motion, no JavaScript."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import (
    DESKTOP,
    PASSWORD,  # remove_demo
    PHONE,
    USER,  # remove_demo
    BrowserErrors,
    sign_in,
)
from tests.stack.compose import Stack

# WCAG 2.2 level AA, and the best practices of axe.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


def assert_accessible(page: Page) -> None:
    """Check the current state of the page, except for the debug toolbar."""
    context = {"exclude": [["#djDebugRoot"]]}
    violations = Axe().run(page, context=context, options=RULES).response["violations"]
    failures = [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in violations
        for node in rule["nodes"]
    ]
    assert failures == [], json.dumps(failures, indent=1)


@contextmanager
def open_tab_for_axe(
    browser: Browser,
    browser_errors: BrowserErrors,
    *,
    size: tuple[int, int] = DESKTOP,
    dark: bool = False,
) -> Iterator[Page]:
    """Open a tab in which axe can measure contrast and inject styles."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        # Contrast cannot be measured while an animation changes it.
        reduced_motion="reduce",
        # Axe adds its own styles to the page.
        bypass_csp=True,
    )
    context.set_default_timeout(15_000)
    context.on("page", browser_errors.watch)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_pass_axe_and_do_not_scroll_sideways(
    local_user: Stack,
    browser: Browser,
    browser_errors: BrowserErrors,
    dark: bool,
    size: tuple[int, int],
) -> None:
    with open_tab_for_axe(browser, browser_errors, size=size, dark=dark) as page:
        page.goto(local_user.url("/accounts/login/"))
        assert_accessible(page)
        assert_no_horizontal_scroll(page)

        page.goto(local_user.url("/status/"))
        page.locator("#strip li").nth(4).wait_for()
        assert_accessible(page)
        assert_no_horizontal_scroll(page)

        sign_in(page, local_user)
        page.locator("#strip li").nth(1).wait_for()
        assert_accessible(page)
        assert_no_horizontal_scroll(page)


def assert_no_horizontal_scroll(page: Page) -> None:
    """Check that the page is not wider than the window."""
    wide, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_status_page_passes_axe_when_no_server_answers(
    local: Stack, browser: Browser, browser_errors: BrowserErrors, dark: bool
) -> None:
    browser_errors.network_expected = True
    with open_tab_for_axe(browser, browser_errors, dark=dark) as page:
        page.goto(local.url("/status/"))
        page.locator("#strip li").nth(1).wait_for()
        page.route("**/profile/", lambda route: route.fulfill(status=503, json={"detail": "-"}))
        expect(page.locator("#headline")).to_have_text("No server answers")
        page.get_by_role("button", name="Pause").click()

        assert_accessible(page)


def test_status_page_follows_the_light_and_dark_color_scheme(local: Stack, page: Page) -> None:
    page.goto(local.url("/status/"))
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(", "))))

    light, dark = shades
    assert light > 3 * 200
    assert dark < 3 * 40


def test_reduced_motion_disables_animations(local: Stack, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(local.url("/status/"))
    bar = page.locator("#strip li:last-child .bar")
    bar.wait_for()

    assert bar.evaluate("bar => getComputedStyle(bar).animationName") == "none"


# remove_demo: begin
def test_user_signs_in_and_out_with_the_keyboard(local_user: Stack, page: Page) -> None:
    page.goto(local_user.url("/status/"))
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "username":
            break
    focus = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.type(USER)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text(f"Signed in as {USER}").wait_for()

    # The next tab stop is the button to sign out.
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.get_by_label("Username").wait_for()
    assert focus == "solid"


def test_wrong_password_shows_an_alert_and_keeps_the_username(
    local_user: Stack, page: Page
) -> None:
    page.goto(local_user.url("/status/"))
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill("not-it")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    expect(page.get_by_label("Username")).to_have_value(USER)


# remove_demo: end


def test_status_page_shows_the_state_without_javascript(local: Stack, browser: Browser) -> None:
    context: BrowserContext = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(local.url("/status/"))

    for server in ("set1", "set2"):
        expect(page.locator(f"[data-server={server}] > .state")).to_have_text("Up")
    expect(page.locator("[data-component=database] .state")).to_have_text("Up")
    # remove_demo: begin
    expect(page.locator("#visits")).to_have_text(str(local.get("/api/hits/").json()["hits"]))
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    # remove_demo: end
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    context.close()
