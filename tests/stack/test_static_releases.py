"""While servers are replaced one by one, the static files of both releases are served."""

import re

from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited

TRIES = 20


def stylesheet(stack: Stack) -> set[str]:
    """Return the hashed stylesheets that the servers' pages name."""
    pages = [stack.get("/").text for _ in range(6)]
    return {
        re.findall(r'href="(/static/api/status\.[0-9a-f]{12}\.css)"', page)[0] for page in pages
    }


def statuses(stack: Stack, path: str) -> set[int]:
    """Return what asking for a file again and again gives, from whichever server."""
    return {stack.get(path).status_code for _ in range(TRIES)}


def replace(stack: Stack, *servers: str) -> None:
    """Make servers anew from the present image."""
    stack.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", *servers)
    stack.wait_for_both()


def check_both_releases_are_served(stack: Stack, old: str) -> None:
    """One server has been replaced: each page's files, from either server; then the other one."""
    both = stylesheet(stack)
    (new,) = both - {old}
    assert both == {old, new}
    assert statuses(stack, old) == {200}
    assert statuses(stack, new) == {200}

    replace(stack, "server2")
    assert stylesheet(stack) == {new}
    # Somebody still has the old page open.
    assert statuses(stack, old) == {200}
    kept = stack.get(old, headers={"Accept-Encoding": "br"})
    assert kept.headers["Content-Encoding"] == "br"
    assert "immutable" in kept.headers["Cache-Control"]


def test_files_of_both_releases_are_served_until_no_release_has_them(production: Stack) -> None:
    (old,) = stylesheet(production)
    style = production.tree / "api" / "static" / "api" / "status.css"
    gone = "api/gone.0123456789ab.css"
    try:
        with edited(style, ":root {", "/* the next release */ :root {"):
            production.compose("build", "--quiet", "server1")
        replace(production, "server1")
        check_both_releases_are_served(production, old)
        production.run_in("server1", "touch", "--date", "40 days ago", f"/srv/kept/static/{gone}")
        assert statuses(production, f"/static/{gone}") == {200}
    finally:
        production.compose("build", "--quiet", "server1")
        replace(production, "server1", "server2")
    assert stylesheet(production) == {old}
    assert statuses(production, f"/static/{gone}") == {404}
