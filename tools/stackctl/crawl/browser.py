"""Visits the site's pages in a real browser, as a program of its own: Ctrl-C ends all of it.

Reads a plan as JSON from standard input. Prints a line for each page, and at the end the plan's
mark with a JSON object: `events`, what the browser saw, `pages` and `left`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)
from playwright.sync_api import Error as BrowserError

Event = dict[str, Any]

# Links that may change something although they are GET requests.
CHANGES = re.compile(
    r"(?<![a-z])(log|sign)[-_]?(out|off)|(?<![a-z])(activate|add-to|approve|cancel|clear|confirm|deactivate"
    r"|delete|destroy|disable|enable|publish|purge|reject|remove|toggle|unsubscribe|vote)(?![a-z])"
)
# Of pages that differ in a number or a query alone, such as a calendar's.
ALIKE = 2
FILES = ("script", "stylesheet", "image", "font", "media", "document")
# Chromium breaks off what it loads when a network of the machine comes or goes.
NETWORK_CHANGED, TRIES = "net::ERR_NETWORK_CHANGED", 3
# What other events say already.
KNOWN = re.compile("Content[- ]Security[- ]Policy|Failed to load resource")
LISTEN = """
window.stackBlocked = [];
addEventListener("securitypolicyviolation", (event) => window.stackBlocked.push({
  directive: event.effectiveDirective, source: event.blockedURI, file: event.sourceFile || "",
  line: event.lineNumber, enforced: event.disposition === "enforce",
}));
"""
READ = """() => ({
  blocked: window.stackBlocked || [],
  links: [...document.querySelectorAll("a[href]")].map((a) => [a.href, a.getAttribute("href")]),
})"""


class Crawl:
    """Breadth first, this site's pages alone."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """Begin with nothing seen."""
        self.plan = plan
        self.origin = plan["url"].rstrip("/")
        self.events: list[Event] = []
        self.pages = self.left = 0
        self.broken_off = False
        # Pages that another visit would not learn from.
        self.bad: set[str] = set()

    def run(self, context: BrowserContext, first: list[str], deadline: float) -> None:
        """Visit pages until there is none left, or the plan's limits are reached.

        Args:
            context: the browser's session.
            first: the paths to begin with.
            deadline: when to end, as time.monotonic() counts, in seconds.
        """
        queue = deque((path, "", "") for path in first)
        seen = set(first)
        alike: Counter[str] = Counter()
        for _ in range(self.plan["pages"]):
            if not queue or time.monotonic() > deadline:
                break
            path, page, href = queue.popleft()
            for link, text in self.visit(context, path, page, href):
                shape = re.sub(r"\d+", "0", link.partition("?")[0])
                if link not in seen and link not in self.bad and alike[shape] < ALIKE:
                    seen.add(link)
                    alike[shape] += 1
                    queue.append((link, path, text))
        self.left += len(queue)

    def visit(
        self, context: BrowserContext, path: str, linked_from: str, href: str
    ) -> list[tuple[str, str]]:
        """Visit a page, again where a change of the machine's networks interrupted it.

        Args:
            context: the browser's session: a visitor's or a superuser's.
            path: the page's path.
            linked_from: the page that links to it; empty for a first page.
            href: the link as that page writes it.

        Returns:
            The paths that it links to, each with the link as the page writes it.
        """
        for _ in range(TRIES):
            before, self.broken_off = len(self.events), False
            links = self._visit(context, path, linked_from, href)
            if not self.broken_off:
                break
            del self.events[before:]
        self.pages += 1
        return links

    def _visit(
        self, context: BrowserContext, path: str, linked_from: str, href: str
    ) -> list[tuple[str, str]]:
        page = context.new_page()
        self.listen(page, path)
        limit = self.plan["request_seconds"]
        started = time.monotonic()
        answer = None
        try:
            # One try more for the error page that follows the limit.
            answer = page.goto(f"{self.origin}{path}", timeout=(limit + 20) * 1000)
        except BrowserError as error:
            # "Download is starting" and an empty answer are no faults.
            if "Timeout" in error.message:
                self.note("slow", path)
            elif "net::ERR_TOO_MANY_REDIRECTS" in error.message:
                self.note("loop", path)
            self.broken_off = NETWORK_CHANGED in error.message
        status = answer.status if answer else 0
        print(f"{status or '-'} {time.monotonic() - started:.1f} {path}", flush=True)
        links: list[tuple[str, str]] = []
        # Where a redirect led to another site, the answer is that one's.
        if answer is not None and answer.url.startswith(f"{self.origin}/"):
            took = answer.request.timing["responseStart"] / 1000
            # A server that ends the request says so in its own status.
            if (took if took > 0 else time.monotonic() - started) > limit - 1:
                self.note("slow", path)
            elif status >= 500:
                self.failed(path, answer)
            elif status in (404, 410) and linked_from:
                self.note("link", linked_from, target=path, text=href)
            else:
                links = self.read(page, path, answer)
        page.close()
        return links

    def listen(self, page: Page, path: str) -> None:
        """Note what a page's files and scripts do."""

        def on_response(answer: Response) -> None:
            request = answer.request
            is_page = request.is_navigation_request() and request.frame == page.main_frame
            if is_page or not answer.url.startswith(f"{self.origin}/"):
                return
            if answer.status >= 500:
                self.failed(path, answer)
            elif answer.status in (404, 410) and request.resource_type in FILES:
                self.note("missing", path, target=urlsplit(answer.url).path)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error" and not KNOWN.search(message.text):
                location = message.location
                file, line = location["url"], location["lineNumber"] + 1
                self.note("console", path, text=message.text, file=file, line=line)

        def on_error(error: BrowserError) -> None:
            place = re.search(r"(https?://\S+?):(\d+):\d+", error.stack or "")
            file, line = (place[1], int(place[2])) if place else ("", 0)
            self.note("console", path, text=f"{error.name}: {error.message}", file=file, line=line)

        def on_failed(request: Request) -> None:
            self.broken_off |= NETWORK_CHANGED in (request.failure or "")

        page.on("response", on_response)
        page.on("requestfailed", on_failed)
        page.on("console", on_console)
        page.on("pageerror", on_error)

    def read(self, page: Page, path: str, answer: Response) -> list[tuple[str, str]]:
        """Note what the Content-Security-Policy blocks; return the page's links."""
        limit = self.plan["request_seconds"]
        try:
            # evaluate() below has no limit of its own, and a busy page does not answer.
            page.locator(":root").wait_for(state="attached", timeout=limit * 1000)
        except BrowserError:
            text = f"it keeps the page busy for more than {limit} s"
            self.note("console", path, text=text, file="", line=0)
            return []
        # A page that is no HTML, or that a script replaces meanwhile, has none.
        try:
            page_data = page.evaluate(READ)
            lines = answer.text().splitlines()
        except (BrowserError, UnicodeDecodeError):
            return []
        for blocked in page_data["blocked"]:
            # The page's own text from there on, which its template has.
            own = blocked["file"] in ("", page.url.partition("#")[0])
            text = "\n".join(lines[max(0, blocked["line"] - 1) :])[:5000] if own else ""
            # A rule is for the page that a redirect led to.
            self.note("policy", urlsplit(page.url).path, **blocked, text=text)
        links = []
        for url, text in page_data["links"]:
            url = url.partition("#")[0]
            if url.startswith(f"{self.origin}/") and not CHANGES.search(url.lower()):
                links.append((url.removeprefix(self.origin), text))
        return links

    def failed(self, path: str, answer: Response) -> None:
        """Note an answer of 500 and up."""
        target = urlsplit(answer.url).path
        request = answer.headers.get("x-request-id", "")
        self.note("error", path, target=target, status=answer.status, request=request)

    def note(self, kind: str, page: str, **fields: Any) -> None:
        """Keep an event; a page with a fault of its own is not visited again."""
        if kind in ("error", "slow"):
            self.bad.add(page)
        self.events.append({"kind": kind, "page": page, **fields})


@contextmanager
def browser_of(plan: dict[str, Any]) -> Iterator[Browser]:
    """Start the browser for the block's time."""
    # Chromium's sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=plan["browser"] or None, args=arguments
        )
        yield browser
        browser.close()


def main() -> None:
    """Crawl as a visitor, and as the user whose session the plan has."""
    plan = json.load(sys.stdin)
    crawl = Crawl(plan)
    started = time.monotonic()
    visitors: list[Any] = [[]]
    if plan["cookie"]:
        name, value = plan["cookie"]
        visitors.append([{"name": name, "value": value, "url": plan["url"]}])
    with browser_of(plan) as browser:
        for number, cookies in enumerate(visitors, start=1):
            context = browser.new_context(ignore_https_errors=True)
            context.add_init_script(LISTEN)
            context.add_cookies(cookies)
            first = [
                p for p in plan["paths"] if p not in crawl.bad and not CHANGES.search(p.lower())
            ]
            crawl.run(context, first, started + plan["seconds"] * number / len(visitors))
            with suppress(BrowserError):
                context.close()
    result = {"events": crawl.events, "pages": crawl.pages, "left": crawl.left}
    print(f"{plan['mark']}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
