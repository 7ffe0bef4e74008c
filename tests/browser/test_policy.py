"""The Content-Security-Policy, and which pages anonymous visitors and staff see."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserErrors, sign_in
from tests.stack.compose import Stack


def test_browser_enforces_the_content_security_policy(
    local: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    """The `browser_errors` fixture collects violations, so that any of them fails a test."""
    page.goto(local.url("/status/"))
    page.evaluate("document.body.setAttribute('style', 'color: red')")

    page.wait_for_function("getComputedStyle(document.body).color !== 'rgb(255, 0, 0)'")
    assert "Content Security Policy" in browser_errors.messages.pop()


def test_admin_and_debug_toolbar_work_under_the_content_security_policy(
    local_user: Stack, page: Page
) -> None:
    sign_in(page, local_user)
    page.locator("#djDebug").wait_for(state="attached")
    page.locator("#djShowToolBarButton").click()
    expect(page.locator("#djDebugToolbar")).to_be_visible()
    page.locator("#djHideToolBarButton").click()

    for path in (
        "/admin/",
        "/admin/accounts/user/",
        "/admin/accounts/user/add/",
        "/admin/demo/counter/",  # remove_demo
    ):
        page.goto(local_user.url(path))
        expect(page.locator("#content")).to_be_visible()


def test_production_shows_anonymous_visitors_only_that_the_site_is_up(
    production: Stack, page: Page
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(production.url("/status/"), wait_until="networkidle")

    assert page.locator("body").inner_text().strip() == "The site is up"
    expect(page.get_by_role("link")).to_have_count(0)
    assert not [url for url in requested if "profile" in url or "report" in url]


def test_production_shows_staff_the_servers(production_user: Stack, page: Page) -> None:
    sign_in(page, production_user)
    page.locator("#strip li").nth(5).wait_for()

    expect(page.locator("[data-server=set1] > .state")).to_have_text("Up")
    expect(page.locator("[data-server=set2] > .state")).to_have_text("Up")
    page.locator("[data-server=set1].latest").wait_for()
    page.locator("[data-server=set2].latest").wait_for()
    expect(page.locator("[data-fact=settings]")).to_have_text("production")
