"""What the browser is allowed: the Content-Security-Policy, and what strangers are shown."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, sign_in
from tests.stack.compose import Stack


def test_the_policy_is_in_force(local: Stack, page: Page, complaints: Complaints) -> None:
    """And its violations are seen by these tests, all of which fail at one."""
    page.goto(local.url("/status/"))
    page.evaluate("document.body.setAttribute('style', 'color: red')")

    page.wait_for_function("getComputedStyle(document.body).color !== 'rgb(255, 0, 0)'")
    assert "Content Security Policy" in complaints.found.pop()


def test_the_admin_and_the_debug_toolbar_work_under_it(local_user: Stack, page: Page) -> None:
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


def test_production_tells_strangers_that_the_site_is_up(production: Stack, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(production.url("/status/"), wait_until="networkidle")

    assert page.locator("body").inner_text().strip() == "The site is up"
    expect(page.get_by_role("link")).to_have_count(0)
    assert not [url for url in asked if "profile" in url or "report" in url]


def test_production_shows_staff_the_stack(production_user: Stack, page: Page) -> None:
    sign_in(page, production_user)
    page.locator("#strip li").nth(5).wait_for()

    expect(page.locator("[data-server=set1] > .state")).to_have_text("Up")
    expect(page.locator("[data-server=set2] > .state")).to_have_text("Up")
    page.locator("[data-server=set1].latest").wait_for()
    page.locator("[data-server=set2].latest").wait_for()
    expect(page.locator("[data-fact=settings]")).to_have_text("production")
