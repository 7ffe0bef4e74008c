"""The local layer: edits are live without a rebuild."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.debugger import line_number, stop_at_breakpoint
from tests.ports import free_port
from tests.stack.compose import Stack, docker
from tests.stack.team import run
from tests.waiting import eventually


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text in a file during the block."""
    original = path.read_text()
    assert old in original
    path.write_text(original.replace(old, new))
    try:
        yield
    finally:
        path.write_text(original)


def test_edited_module_is_live_on_both_servers(local: Stack) -> None:
    module = local.tree / "ops" / "profile.py"
    with edited(module, '"server": settings.PROFILE', '"server": settings.PROFILE.upper()'):
        eventually(
            lambda: local.in_service() == {"SET1", "SET2"},
            seconds=60,
            what="both servers run the edit",
        )
    eventually(
        lambda: local.in_service() == {"set1", "set2"},
        seconds=60,
        what="both servers run the original",
    )


def test_edited_template_and_stylesheet_are_live(local: Stack) -> None:
    template = local.tree / "ops" / "templates" / "ops" / "status.html"
    with edited(template, "The site is up", "Edited just now"):
        assert all("Edited just now" in local.get("/status/").text for _ in range(4))
    style = local.tree / "ops" / "static" / "ops" / "status.css"
    with edited(style, ":root {", "/* edited */ :root {"):
        assert all("/* edited */" in local.get("/static/ops/status.css").text for _ in range(4))


@pytest.mark.parametrize("app_server", ["uwsgi", "asgi"])
def test_debugger_attaches_to_a_separate_server(local: Stack, app_server: str) -> None:
    """Started as in docs/develop.md; the servers behind HAProxy have no debugger."""
    debugger, site = free_port(), free_port()
    published = (f"127.0.0.1:{debugger}:5678", f"127.0.0.1:{site}:7999")
    limits = ("DEBUGGER_PORT=5678", "WEB_CONCURRENCY=1", "REQUEST_SECONDS=600")
    variables = (f"APP_SERVER={app_server}", *limits)
    with ExitStack() as undo:
        name = local.output(
            *("run", "--detach", "--rm", "--no-deps"),
            *(f"--publish={address}" for address in published),
            *(f"--env={variable}" for variable in variables),
            "server1",
        ).split()[-1]
        undo.callback(docker, "rm", "--force", name)
        url = f"http://127.0.0.1:{site}/profile/"
        eventually(lambda: requests.get(url, timeout=5).ok, seconds=60, what="the server answers")
        line = line_number(
            (local.tree / "ops/profile.py").read_text(), '"server": settings.PROFILE'
        )

        answer = stop_at_breakpoint(
            debugger, "/srv/project/ops/profile.py", line, lambda: requests.get(url, timeout=60)
        )

        assert answer.json()["server"] == "set1"
        assert docker("port", name, "5678") == f"127.0.0.1:{debugger}"
    assert local.in_service() == {"set1", "set2"}


NEW_APP = {
    "views.py": """from django.shortcuts import render


def home(request):
    return render(request, "shop/home.html")
""",
    "urls.py": """from django.urls import path

from shop import views

urlpatterns = [path("shop/", views.home)]
""",
    "templates/shop/home.html": "first",
    "static/shop/shop.css": "/* first */",
    "locale/de/LC_MESSAGES/django.po": 'msgid "x"\nmsgstr "y"\n',
}


def test_new_app_is_live_with_its_templates_and_static_files(local: Stack) -> None:
    """Only translations need a rebuild, and the log says so."""
    tree = local.tree
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, tree / "shop", ignore_errors=True)
        run(tree, sys.executable, "manage.py", "startapp", "shop")
        for name, text in NEW_APP.items():
            path = tree / "shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        undo.enter_context(
            edited(
                tree / "mysite/settings/base.py",
                "INSTALLED_APPS = [\n",
                'INSTALLED_APPS = [\n    "shop",\n',
            )
        )
        undo.enter_context(
            edited(
                tree / "mysite/urls.py",
                "urlpatterns = [\n",
                'urlpatterns = [\n    path("", include("shop.urls")),\n',
            )
        )
        eventually(
            lambda: all(local.get("/shop/").text == "first" for _ in range(6)),
            seconds=60,
            what="both servers have the app",
        )
        assert local.get("/static/shop/shop.css").text == "/* first */"
        (tree / "shop/static/shop/later.css").write_text("/* later */")
        assert local.get("/static/shop/later.css").text == "/* later */"
        with edited(tree / "shop/templates/shop/home.html", "first", "second"):
            assert local.get("/shop/").text == "second"
        warning = "shop/locale/de/LC_MESSAGES/django.po: it needs gettext"
        eventually(
            lambda: warning in local.logs("server1"),
            seconds=30,
            what="the log names the translation",
        )
    eventually(
        lambda: all(local.get("/shop/").status_code == 404 for _ in range(6)),
        seconds=60,
        what="both servers run without it",
    )


def test_site_recovers_from_a_syntax_error_with_the_next_edit(local: Stack) -> None:
    module = local.tree / "ops" / "profile.py"
    with edited(module, "def active_profile", "def def active_profile"):
        eventually(
            lambda: "SyntaxError" in local.logs("server1"), seconds=60, what="the log shows it"
        )
    eventually(
        lambda: local.in_service() == {"set1", "set2"},
        seconds=90,
        what="both servers run the original",
    )
    assert local.inspect("server1", "{{.RestartCount}}") == "0"
