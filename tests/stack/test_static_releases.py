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


def replace(stack: Stack, server: str) -> None:
    """Make one server anew from the present image."""
    stack.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", server)
    stack.wait_for_both()


def test_files_of_both_releases_are_served(production: Stack) -> None:
    (old,) = stylesheet(production)
    style = production.tree / "api" / "static" / "api" / "status.css"
    try:
        with edited(style, ":root {", "/* the next release */ :root {"):
            production.compose("build", "--quiet", "server1")
        replace(production, "server1")
        both = stylesheet(production)
        (new,) = both - {old}

        # Each page's files, from either server.
        assert both == {old, new}
        assert statuses(production, old) == {200}
        assert statuses(production, new) == {200}

        replace(production, "server2")
        assert stylesheet(production) == {new}
        # Somebody still has the old page open.
        assert statuses(production, old) == {200}
        kept = production.get(old, headers={"Accept-Encoding": "br"})
        assert kept.headers["Content-Encoding"] == "br"
        assert "immutable" in kept.headers["Cache-Control"]
    finally:
        production.compose("build", "--quiet", "server1")
        for server in ("server1", "server2"):
            replace(production, server)
    assert stylesheet(production) == {old}


def test_files_that_no_release_has_are_removed_in_the_end(production: Stack) -> None:
    gone = "/srv/kept/static/api/gone.0123456789ab.css"
    production.run_in("server1", "touch", "--date", "40 days ago", gone)
    assert production.get("/static/api/gone.0123456789ab.css").status_code == 200

    production.compose("restart", "server1")
    production.wait_for_both()

    assert production.get("/static/api/gone.0123456789ab.css").status_code == 404
