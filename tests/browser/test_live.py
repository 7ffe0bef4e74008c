"""The status page is alive: who answers, what is down, and what it does without a connection."""

import subprocess
from collections import Counter

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.browser.conftest import Complaints
from tests.stack.compose import Stack

# How soon the page has to show what happens to a server, in milliseconds.
SOON = 5_000


def answers(page: Page) -> list[str]:
    """Return the servers of the strip, oldest first."""
    return page.locator("#strip li").evaluate_all("items => items.map(item => item.dataset.answer)")


def state_of(page: Page, server: str) -> str:
    """Name the element that shows a server's state."""
    return f"[data-server={server}] > .state"


def test_the_servers_take_turns(local: Stack, page: Page) -> None:
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(9).wait_for()

    # Not one after the other: the answer with the whole state is not waited for, and may come after
    # the next one.
    seen = Counter(answers(page)[-8:])
    assert seen.keys() == {"set1", "set2"}
    assert min(seen.values()) >= 3, seen
    # The picture marks the one that answered last.
    page.locator("[data-server=set1].latest").wait_for()
    page.locator("[data-server=set2].latest").wait_for()
    expect(page.locator("#tally")).to_contain_text("set1")
    expect(page.locator("#tally")).to_contain_text("set2")


def test_the_strip_keeps_the_last_twenty(local: Stack, page: Page) -> None:
    page.clock.install()
    page.goto(local.url("/status/"))
    for number in range(25):
        page.clock.run_for(1_100)
        page.locator("#strip li").nth(min(number, 19)).wait_for()

    expect(page.locator("#strip li")).to_have_count(20)


# remove_demo: begin
def test_every_opening_counts_once(local: Stack, page: Page) -> None:
    before = local.get("/api/hits/").json()["hits"]

    for _ in range(2):
        with page.expect_response("**/api/hits/"):
            page.goto(local.url("/status/"))

    expect(page.locator("#visits")).to_have_text(f"{before + 2:,}")
    assert local.get("/api/hits/").json()["hits"] == before + 2


# remove_demo: end


def test_a_stopped_server_is_shown_as_down_and_comes_back(local: Stack, page: Page) -> None:
    page.goto(local.url("/status/"))
    state = page.locator(state_of(page, "set2"))
    expect(state).to_have_text("Up")

    stop = subprocess.Popen(
        ["docker", "compose", "--project-name", local.project, "stop", "server2"],
        cwd=local.tree,
        env=local.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # From here on the server knows; compose itself takes its time to start.
        assert stop.stderr
        assert any("Stopping" in line for line in stop.stderr)
        # It drains first, and is down once it has stopped.
        expect(state).not_to_have_text("Up", timeout=SOON)
        expect(page.locator("#announcer")).to_contain_text("set2")
        stop.communicate(timeout=60)
        assert stop.returncode == 0
        expect(state).to_have_text("Down", timeout=SOON)
        expect(state).to_have_attribute("data-state", "down")
        expect(page.locator("#headline")).to_have_text("The site is up, but not all of it")
        expect(page.locator("[data-server=set2] .detail")).to_have_text("not reached")
        # No failed answer said so.
        assert set(answers(page)) == {"set1", "set2"}
    finally:
        local.compose("start", "server2")
        local.wait_for_both()
    expect(state).to_have_text("Up", timeout=2 * SOON)
    expect(state).to_have_attribute("data-state", "up")
    expect(page.locator("#headline")).to_have_text("The site is up")


def test_without_a_connection_it_says_so_and_goes_on_later(
    local: Stack, page: Page, context: BrowserContext, complaints: Complaints
) -> None:
    complaints.network_expected = True
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()

    context.set_offline(True)
    expect(page.locator("#headline")).to_have_text("No connection")
    expect(page.locator("#client .state")).to_have_text("No connection")
    expect(page.locator(state_of(page, "set1"))).to_have_text("Not known")
    context.set_offline(False)

    expect(page.locator("#headline")).to_have_text("The site is up")
    expect(page.locator(state_of(page, "set1"))).to_have_text("Up")


def test_without_a_server_it_says_so(local: Stack, page: Page, complaints: Complaints) -> None:
    """With the answer that HAProxy gives then."""
    complaints.network_expected = True
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()

    page.route("**/profile/", lambda route: route.fulfill(status=503, json={"detail": "None."}))
    expect(page.locator("#headline")).to_have_text("No server answers")
    expect(page.locator("#balancer .state")).to_have_text("Up")
    expect(page.locator("#strip .failed").first).to_be_visible()
    page.unroute("**/profile/")

    expect(page.locator("#headline")).to_have_text("The site is up")


@pytest.mark.parametrize("how", ["hidden", "paused"])
def test_nothing_is_asked_while_nobody_looks(local: Stack, page: Page, how: str) -> None:
    page.clock.install()
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()
    asked: list[str] = []

    stop_looking(page, how)
    page.on("request", lambda request: note_question(asked, request))
    page.clock.run_for(60_000)
    assert asked == []

    if how == "hidden":
        set_hidden(page, False)
    else:
        page.get_by_role("button", name="Go on").click()
    with page.expect_response("**/profile/"):
        page.clock.run_for(1_000)


@pytest.mark.parametrize("how", ["hidden", "paused"])
def test_an_answer_that_comes_later_leads_to_no_question(
    local: Stack, page: Page, how: str
) -> None:
    """After the first one the whole state would be asked for."""
    held: list[Route] = []
    asked: list[str] = []
    page.clock.install()
    page.route("**/profile/", lambda route: held.append(route))
    with page.expect_request("**/profile/"):
        page.goto(local.url("/status/"))

    stop_looking(page, how)
    page.on("request", lambda request: note_question(asked, request))
    held[0].continue_()
    page.locator("#strip li").first.wait_for()
    page.clock.run_for(60_000)

    assert asked == []


def note_question(asked: list[str], request: Request) -> None:
    """Note what the page asks for; the browser takes the icon when it likes."""
    if request.resource_type == "fetch":
        asked.append(request.url)


def stop_looking(page: Page, how: str) -> None:
    """Have the page hidden, or paused by its button."""
    if how == "hidden":
        set_hidden(page, True)
    else:
        page.get_by_role("button", name="Pause").click()


def set_hidden(page: Page, hidden: bool) -> None:
    """Let the page believe that its tab is in the background; a headless one never is."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_less_and_less_is_asked_of_what_does_not_answer(
    local: Stack, page: Page, complaints: Complaints
) -> None:
    complaints.network_expected = True
    asked: list[str] = []
    page.clock.install()
    page.goto(local.url("/status/"))
    page.locator("#strip li").nth(1).wait_for()
    page.route("**/profile/", lambda route: route.abort())
    page.on("request", lambda request: note_question(asked, request))

    for _ in range(60):
        page.clock.run_for(1_000)

    # After 2, 4, 8, and then every 15 s; each second it would be 60.
    assert 3 <= len(asked) <= 12
