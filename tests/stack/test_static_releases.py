"""Static files of two releases during a deploy."""

import re
import uuid

from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited

TRIES = 20


def linked_stylesheets(stack: Stack) -> set[str]:
    """Return the hashed stylesheets that the pages link."""
    pages = [stack.get("/status/").text for _ in range(6)]
    return {
        re.findall(r'href="(/static/ops/status\.[0-9a-f]{12}\.css)"', page)[0] for page in pages
    }


def statuses(stack: Stack, path: str) -> set[int]:
    """Request a file repeatedly, and return the statuses."""
    return {stack.get(path).status_code for _ in range(TRIES)}


def recreate(stack: Stack, server: str) -> None:
    """Recreate one server from the current image."""
    stack.compose("up", "--detach", "--wait", "--no-deps", "--force-recreate", server)
    stack.wait_for_both()


def build_with_another_stylesheet(stack: Stack) -> None:
    """Build the image of another release, and store its static files."""
    style = stack.tree / "ops" / "static" / "ops" / "status.css"
    with edited(style, ":root {", f"/* {uuid.uuid4()} */ :root {{"):
        stack.compose("build", "--quiet", "env-check")
    stack.compose("run", "--rm", "--no-deps", "migrate", "python", "nginx/keep_static.py")


def test_server_cannot_write_the_shared_static_files(production: Stack) -> None:
    """Not even root in its container can."""
    (style,) = linked_stylesheets(production)
    before = production.get(style).content
    for user in ("10001", "0"):
        for script in (f"echo evil >/srv/kept{style}", "echo evil >/srv/kept/static/evil.js"):
            tried = production.compose(
                "exec", "-T", "--user", user, "server1", "sh", "-c", script, check=False
            )
            assert tried.returncode, tried.stdout
            assert "Read-only file system" in tried.stdout or user == "0"
    assert {production.get(style).content for _ in range(TRIES)} == {before}
    assert statuses(production, "/static/evil.js") == {404}


def test_static_files_of_both_releases_are_served_during_a_deploy(production: Stack) -> None:
    (old,) = linked_stylesheets(production)
    try:
        build_with_another_stylesheet(production)
        recreate(production, "server1")
        both = linked_stylesheets(production)
        (new,) = both - {old}

        # Both servers serve the files of both releases.
        assert both == {old, new}
        assert statuses(production, old) == {200}
        assert statuses(production, new) == {200}

        recreate(production, "server2")
        assert linked_stylesheets(production) == {new}
        # Clients may still have the old page open.
        assert statuses(production, old) == {200}
        kept = production.get(old, headers={"Accept-Encoding": "br"})
        assert (kept.headers["Content-Encoding"], kept.headers["Vary"]) == ("br", "Accept-Encoding")
        assert "immutable" in kept.headers["Cache-Control"]
        assert kept.headers["X-Content-Type-Options"] == "nosniff"
    finally:
        # Restore the image of this tree for later starts.
        production.compose("build", "--quiet", "env-check")
