"""What a crawl saw as findings: what is wrong on which pages, and the line to change."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

Event = Mapping[str, Any]
# Kinds of a place: "text" of a template, "static" file, "view" of a path (inside/site.py).
Query = tuple[str, str]

SETTINGS = "mysite/settings/base.py"
FRAME = re.compile(r'File "(/[^"]+)", line (\d+), in (\S+)\n\s+(.*)')
# The exception itself, which is a traceback's last line.
UNKNOWN_STATIC = re.compile(r"Missing staticfiles manifest entry for '([^']+)'\s*$")
# What a directive blocks in a page's own text: its name, what replaces it, and what finds it.
INLINE = {
    "script-src-elem": (
        "an inline script",
        "move it into a static file",
        re.compile(r"<script\b[^>]*>(.*?)(?:</script>|$)", re.S | re.I),
    ),
    "style-src-elem": (
        "an inline style",
        "move it into a static file",
        re.compile(r"<style\b[^>]*>(.*?)(?:</style>|$)", re.S | re.I),
    ),
    "script-src-attr": (
        "an event handler in an attribute",
        "call addEventListener in a script of its own",
        re.compile(r"\s(on\w+=(?:\"[^\"]*\"|'[^']*'))", re.I),
    ),
    "style-src-attr": (
        "a style in an attribute",
        "use a class, and a stylesheet of its own",
        re.compile(r"\s(style=(?:\"[^\"]*\"|'[^']*'))", re.I),
    ),
}
# A source of the policy for what browsers call by a word.
KEYWORDS = {"inline": "'unsafe-inline'", "eval": "'unsafe-eval'", "wasm-eval": "'wasm-unsafe-eval'"}


@dataclass(frozen=True)
class Where:
    """What is known of the site apart from the crawl.

    Attributes:
        origin: the site's address as the browser has it.
        static: STATIC_URL.
        seconds: REQUEST_SECONDS.
        root: the project's folder in the containers.
        prefix: what leads from this folder to the project's.
        rules: whether CONTENT_SECURITY_POLICY_PATHS counts.
        tracebacks: what failed requests left in the log, by their id.
    """

    origin: str
    static: str
    seconds: int
    root: str
    prefix: str = ""
    rules: bool = True
    tracebacks: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Finding:
    """One fault; `problem` has `{pages}` until all pages that have it are known."""

    kind: str
    problem: str
    place: str
    change: list[str]
    pages: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return it for scripts."""
        return asdict(self)


def queries(event: Event, where: Where) -> list[Query]:
    """Return the queries for the line that causes an event, the best one first."""
    view = ("view", event["page"])
    match event["kind"]:
        case "error":
            missing = UNKNOWN_STATIC.search(where.tracebacks.get(event["request"], ""))
            if missing:
                return [("text", missing[1]), ("view", event["target"])]
            return [("view", event["target"])]
        case "missing":
            target = unquote(event["target"])
            return [("text", target), ("text", target.rpartition("/")[2]), view]
        case "link":
            text = event["text"]
            return [("text", f'href="{text}"'), ("text", text), view]
        case "policy" if event["source"] != "inline":
            return [("text", event["source"])]
        case "policy" if event["text"]:
            return [*(("text", line) for line in inline_lines(event)), view]
    if file := event.get("file"):
        path = urlsplit(file).path
        if path.startswith(where.static):
            return [("static", f"{path.removeprefix(where.static)}:{event['line']}")]
    return [view]


def inline_lines(event: Event) -> list[str]:
    """Return lines of a page that a template may have as they are, the longest first."""
    *_, pattern = INLINE.get(event["directive"], (None,))
    match = pattern.search(event["text"]) if pattern else None
    lines = {line.strip() for line in match[1].splitlines()} if match else set()
    return sorted((line for line in lines if len(line) > 5), key=len, reverse=True)[:5]


def findings(events: Sequence[Event], places: Sequence[str], where: Where) -> list[Finding]:
    """Return the findings of a crawl, each once, with all its pages.

    Args:
        events: what the browser saw.
        places: the answer to each event's queries.
        where: what else is known of the site.
    """
    result: dict[tuple[str, ...], Finding] = {}
    for event, place in zip(events, places, strict=True):
        one = finding(event, place, where)
        same = result.setdefault((one.kind, one.problem, one.place), one)
        page = event["page"].partition("?")[0]
        if page not in same.pages:
            same.pages.append(page)
        if event["kind"] == "policy":
            same.change = policy_change(event, same.pages, where)
    for one in result.values():
        one.problem = one.problem.format(pages=listed(one.pages))
    order = ("error", "loop", "slow", "missing", "policy", "console", "link")
    return sorted(result.values(), key=lambda one: order.index(one.kind))


def finding(event: Event, place: str, where: Where) -> Finding:
    """Return what an event says."""
    make = {
        "error": _error,
        "loop": _loop,
        "slow": _slow,
        "missing": _missing,
        "policy": _policy,
        "console": _console,
        "link": _link,
    }
    problem, place, change = make[event["kind"]](event, place, where)
    return Finding(event["kind"], problem, place, change, [])


Parts = tuple[str, str, list[str]]


def _error(event: Event, place: str, where: Where) -> Parts:
    target, status, source = quoted(event["target"]), event["status"], ", requested by {pages}"
    # One line of code can fail all pages.
    if event["target"] == event["page"].partition("?")[0]:
        target, source = "{pages}", ""
    traceback = where.tracebacks.get(event["request"], "")
    if not traceback:
        log = f"the log has no exception; see what the view returns (request {event['request']})"
        return f"{target} answers {status}{source}", place, [log]
    problem = f"{target} answers {status}{source}: {quoted(raised(traceback))}"
    if missing := UNKNOWN_STATIC.search(traceback):
        return problem, place, [static_change(missing[1])]
    line, code = own_frame(traceback, where)
    return problem, line or place, [code] if line else []


def raised(traceback: str) -> str:
    """Return a traceback's last exception, whose message may have several lines."""
    lines = traceback.rpartition("Traceback (most recent call last):\n")[2].strip("\n").splitlines()
    first = next((n for n, line in enumerate(lines) if not line.startswith(" ")), -1)
    return "\n".join(lines[first:])


def own_frame(traceback: str, where: Where) -> tuple[str, str]:
    """Return the last line of the project's own code in a traceback, else the last of all."""
    frames = FRAME.findall(traceback)
    stack = (f"{where.root}ops/", f"{where.root}tools/")
    own = [f for f in frames if f[0].startswith(where.root) and not f[0].startswith(stack)]
    if not frames:
        return "", ""
    file, line, function, code = own[-1] if own else frames[-1]
    file = (
        f"{where.prefix}{file.removeprefix(where.root)}"
        if own
        else file.rpartition("/site-packages/")[2]
    )
    return f"{file}:{line}", f"in {function}: {code}"


def _loop(event: Event, place: str, where: Where) -> Parts:
    return "{pages} redirects without end", place, ["answer with a page"]


def _slow(event: Event, place: str, where: Where) -> Parts:
    more = f".env: a higher REQUEST_SECONDS, which is {where.seconds} now"
    later = "make the view faster, or do the work in a task (docs/tasks.md)"
    return f"{{pages}} needs more than {where.seconds} s", place, [later, more]


def _missing(event: Event, place: str, where: Where) -> Parts:
    target = unquote(event["target"])
    change = f"correct the address, or add the file that belongs to {target}"
    if target.startswith(where.static):
        change = static_change(target.removeprefix(where.static))
    return f"{quoted(target)} is missing (404), which {{pages}} loads", place, [change]


def static_change(name: str) -> str:
    """Return what to do about a missing static file."""
    return (
        f"add {name} to the folder static of an app or of STATICFILES_DIRS, and load it by "
        f'{{% static "{name}" %}}'
    )


def _policy(event: Event, place: str, where: Where) -> Parts:
    how = "blocks" if event["enforced"] else "would block"
    directive, source = rule_of(event, where)
    if event["source"] == "inline" and event["directive"] in INLINE:
        what = INLINE[event["directive"]][0]
    else:
        # The template's line that loads it tells findings apart; else the policy's source does.
        what = f"{event['source'] if place else source} ({directive})"
    return f"the Content-Security-Policy {how} {quoted(what)} on {{pages}}", place, []


def rule_of(event: Event, where: Where) -> tuple[str, str]:
    """Return the directive and the source that would allow what was blocked."""
    directive = re.sub("-(elem|attr)$", "", event["directive"])
    source = event["source"]
    parts = urlsplit(source)
    if parts.netloc:
        origin = f"{parts.scheme}://{parts.netloc}"
        return directive, "'self'" if origin == where.origin else origin
    return directive, KEYWORDS.get(source) or f"{source.rstrip(':')}:"


def policy_change(event: Event, pages: Sequence[str], where: Where) -> list[str]:
    """Return the remedies: do without the source, or add a rule that allows it."""
    directive, source = rule_of(event, where)
    path = pages[0] if len(pages) == 1 else f"{os.path.commonpath(pages).rstrip('/')}/"
    change = f"your own Content-Security-Policy: {directive} {source}"
    if where.rules:
        rule = json.dumps({path: {directive: [source]}})
        change = f"{SETTINGS}: CONTENT_SECURITY_POLICY_PATHS = {rule}"
        # A rule counts for all that begins with its path.
        if path == "/":
            change += "  # on every page, the admin's too"
    if event["source"] == "inline" and event["directive"] in INLINE:
        return [INLINE[event["directive"]][1], change]
    return ["copy it into your static files", change] if "://" in source else [change]


def _console(event: Event, place: str, where: Where) -> Parts:
    path = urlsplit(event["file"]).path
    location = f" ({path}:{event['line']})" if path and not place else ""
    return f"a script fails on {{pages}}{location}: {quoted(event['text'])}", place, []


def _link(event: Event, place: str, where: Where) -> Parts:
    change = "correct the link, or add its URL"
    return f"{quoted(event['target'])} answers 404, and {{pages}} links to it", place, [change]


def quoted(text: str) -> str:
    """Return a text that format() leaves as it is, on one line."""
    return " ".join(text.split())[:300].replace("{", "{{").replace("}", "}}")


def listed(pages: Sequence[str]) -> str:
    """Return the first pages by name, and how many more there are."""
    more = len(pages) - 3
    return ", ".join(pages[:3]) + (f" and {more} more" if more > 0 else "")


def lines(finding: Finding) -> list[str]:
    """Return a finding for a person: the problem, then the line to change, then other ways."""
    head, *others = finding.change or [""]
    first = ": ".join(part for part in (finding.place, head) if part)
    shown = [
        finding.problem,
        *(f"    {first}" for _ in [0] if first),
        *(f"    or {way}" for way in others),
    ]
    return [printable(line) for line in shown]


def printable(text: str) -> str:
    """Replace what a terminal obeys or cannot print, such as escapes and lone surrogates."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)
