"""The local layer: an edit is live without a rebuild."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack.compose import Stack
from tests.waiting import eventually


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text in a file for the block's time."""
    original = path.read_text()
    assert old in original
    path.write_text(original.replace(old, new))
    try:
        yield
    finally:
        path.write_text(original)


def test_an_edited_module_is_live_on_both_servers(local: Stack) -> None:
    module = local.tree / "ops" / "profile.py"
    with edited(module, '"server": settings.PROFILE', '"server": settings.PROFILE.upper()'):
        eventually(
            lambda: local.in_service() == {"SET1", "SET2"}, seconds=60, what="both show the edit"
        )
    eventually(lambda: local.in_service() == {"set1", "set2"}, seconds=60, what="both are back")


def test_an_edited_template_and_stylesheet_are_live(local: Stack) -> None:
    template = local.tree / "ops" / "templates" / "ops" / "status.html"
    with edited(template, "The site is up", "Edited just now"):
        assert all("Edited just now" in local.get("/status/").text for _ in range(4))
    style = local.tree / "ops" / "static" / "ops" / "status.css"
    with edited(style, ":root {", "/* edited */ :root {"):
        assert all("/* edited */" in local.get("/static/ops/status.css").text for _ in range(4))


def test_a_syntax_error_heals_with_the_next_edit(local: Stack) -> None:
    module = local.tree / "ops" / "profile.py"
    with edited(module, "def active_profile", "def def active_profile"):
        eventually(
            lambda: "SyntaxError" in local.logs("server1"), seconds=60, what="the log shows it"
        )
    eventually(lambda: local.in_service() == {"set1", "set2"}, seconds=90, what="both are back")
    assert local.inspect("server1", "{{.RestartCount}}") == "0"
