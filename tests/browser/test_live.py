"""The status page updates itself: answering servers, components that are down, lost connections."""

import subprocess
from collections import Counter

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.browser.conftest import BrowserErrors
from tests.stack.compose import Stack
from tests.waiting import eventually

# How soon the page must show that the state of a server changed.
SOON_MS = 5_000


def servers_in_strip(page: Page) -> list[str]:
    """Return the servers in the strip of recent requests, oldest first."""
    return page.locator("#strip li").evaluate_all("items => items.map(item => item.dataset.answer)")


def state_selector(page: Page, server: str) -> str:
    """Return the selector of the element that shows the state of a server."""
    return f"[data-server={server}] > .state"


def test_status_page_shows_requests_alternating_between_servers(local: Stack, page: Page) -> None:
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(9).wait_for()

    # Not strictly alternating: the request for the whole state runs in parallel.
    seen = Counter(servers_in_strip(page)[-8:])
    assert seen.keys() == {"set1", "set2"}
    assert min(seen.values()) >= 3, seen
    # The diagram marks the server that answered last.
    page.locator("[data-server=set1].latest").wait_for()
    page.locator("[data-server=set2].latest").wait_for()
    expect(page.locator("#tally")).to_contain_text("set1")
    expect(page.locator("#tally")).to_contain_text("set2")


def test_status_page_keeps_the_last_twenty_requests(local: Stack, page: Page) -> None:
    page.clock.install()
    page.goto(local.url("/status/"))
    for number in range(25):
        page.clock.run_for(1_100)
        page.locator("#strip li").nth(min(number, 19)).wait_for()

    expect(page.locator("#strip li")).to_have_count(20)


# remove_demo: begin
def test_opening_the_status_page_counts_one_visit(local: Stack, page: Page) -> None:
    before = local.get("/api/hits/").json()["hits"]

    for _ in range(2):
        with page.expect_response("**/api/hits/"):
            page.goto(local.url("/status/"))

    expect(page.locator("#visits")).to_have_text(f"{before + 2:,}")
    assert local.get("/api/hits/").json()["hits"] == before + 2


# remove_demo: end


def test_status_page_shows_a_stopped_server_as_down_until_it_restarts(
    local: Stack, page: Page
) -> None:
    page.goto(local.url("/status/"))
    state = page.locator(state_selector(page, "set2"))
    expect(state).to_have_text("Up")
    eventually(
        lambda: set(servers_in_strip(page)) == {"set1", "set2"},
        seconds=30,
        what="both servers have answered the page",
    )

    stop = subprocess.Popen(
        ["docker", "compose", "--project-name", local.project, "stop", "server2"],
        cwd=local.tree,
        env=local.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # Compose prints this when it sends the stop signal.
        assert stop.stderr
        assert any("Stopping" in line for line in stop.stderr)
        # The server first drains, and is down once it has stopped.
        expect(state).not_to_have_text("Up", timeout=SOON_MS)
        expect(page.locator("#announcer")).to_contain_text("set2")
        stop.communicate(timeout=60)
        assert stop.returncode == 0
        expect(state).to_have_text("Down", timeout=SOON_MS)
        expect(state).to_have_attribute("data-state", "down")
        expect(page.locator("#headline")).to_have_text("The site is up, but a component is down")
        expect(page.locator("[data-server=set2] .detail")).to_have_text("not reached")
        # The page learned it without a failed request.
        assert set(servers_in_strip(page)) <= {"set1", "set2"}
    finally:
        local.compose("start", "server2")
        local.wait_for_both()
    expect(state).to_have_text("Up", timeout=2 * SOON_MS)
    expect(state).to_have_attribute("data-state", "up")
    expect(page.locator("#headline")).to_have_text("The site is up")


def test_status_page_shows_no_connection_and_resumes_when_back_online(
    local: Stack, page: Page, context: BrowserContext, browser_errors: BrowserErrors
) -> None:
    browser_errors.network_expected = True
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()

    context.set_offline(True)
    expect(page.locator("#headline")).to_have_text("No connection")
    expect(page.locator("#client .state")).to_have_text("No connection")
    expect(page.locator(state_selector(page, "set1"))).to_have_text("Unknown")
    context.set_offline(False)

    expect(page.locator("#headline")).to_have_text("The site is up")
    expect(page.locator(state_selector(page, "set1"))).to_have_text("Up")


def test_status_page_shows_that_no_server_answers(
    local: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    """The page receives the 503 that HAProxy sends then."""
    browser_errors.network_expected = True
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()

    page.route("**/profile/", lambda route: route.fulfill(status=503, json={"detail": "None."}))
    expect(page.locator("#headline")).to_have_text("No server answers")
    expect(page.locator("#balancer .state")).to_have_text("Up")
    expect(page.locator("#strip .failed").first).to_be_visible()
    page.unroute("**/profile/")

    expect(page.locator("#headline")).to_have_text("The site is up")


@pytest.mark.parametrize("reason", ["hidden", "paused"])
def test_hidden_or_paused_status_page_sends_no_requests(
    local: Stack, page: Page, reason: str
) -> None:
    page.clock.install()
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()
    requested: list[str] = []

    hide_or_pause(page, reason)
    page.on("request", lambda request: record_fetch(requested, request))
    page.clock.run_for(60_000)
    assert requested == []

    if reason == "hidden":
        set_hidden(page, False)
    else:
        page.get_by_role("button", name="Resume").click()
    with page.expect_response("**/profile/"):
        page.clock.run_for(1_000)


@pytest.mark.parametrize("reason", ["hidden", "paused"])
def test_response_after_hiding_or_pausing_triggers_no_further_request(
    local: Stack, page: Page, reason: str
) -> None:
    """The page would request the whole state after the first response."""
    held_routes: list[Route] = []
    requested: list[str] = []
    page.clock.install()
    page.route("**/profile/", lambda route: held_routes.append(route))
    with page.expect_request("**/profile/"):
        page.goto(local.url("/status/"))

    hide_or_pause(page, reason)
    page.on("request", lambda request: record_fetch(requested, request))
    held_routes[0].continue_()
    page.locator("#strip li").first.wait_for()
    page.clock.run_for(60_000)

    assert requested == []


def record_fetch(requested: list[str], request: Request) -> None:
    """Record requests of scripts; the browser loads icons at any time."""
    if request.resource_type == "fetch":
        requested.append(request.url)


def hide_or_pause(page: Page, reason: str) -> None:
    """Hide the page, or click its button Pause."""
    if reason == "hidden":
        set_hidden(page, True)
    else:
        page.get_by_role("button", name="Pause").click()


def set_hidden(page: Page, hidden: bool) -> None:
    """Simulate a background tab, since a headless browser has none."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_status_page_backs_off_when_no_server_answers(
    local: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    browser_errors.network_expected = True
    requested: list[str] = []
    page.clock.install()
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()
    page.route("**/profile/", lambda route: route.abort())
    page.on("request", lambda request: record_fetch(requested, request))

    for _ in range(60):
        page.clock.run_for(1_000)

    # After 2, 4, 8, and then every 15 s; without back-off there would be 60.
    assert 3 <= len(requested) <= 12
