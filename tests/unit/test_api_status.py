"""/status/: the status page, which shows visitors no details in production."""

import sys
from html.parser import HTMLParser
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import resolve
from django.views.generic import RedirectView
from pytest_django import Settings

from ops.status.diagram import APP_SERVERS
from tests.tree import ROOT

User = get_user_model()

# Must not be shown to anonymous visitors.
SERVER = "server-of-the-test"
RELEASE = "2025-01-31.4f2c1ab"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of the page; a wrongly nested tag is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(autouse=True)
def unique_names(settings: Settings) -> None:
    """Give the server and its release unique names."""
    settings.PROFILE, settings.RELEASE = SERVER, RELEASE


def links(answer: Any) -> list[str | None]:
    """Return the targets of the links."""
    return [attrs["href"] for tag, attrs in Page(answer.content.decode()).tags if tag == "a"]


def test_home_page_redirects_to_status_page(client: Client) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer["Location"]) == (302, "/status/")


@pytest.mark.parametrize("line", ["urlpatterns = [\n", "]\n"], ids=["first", "last"])
def test_project_urls_precede_stack_urls_at_any_position(line: str) -> None:
    text = (ROOT / "mysite/urls.py").read_text()
    own = "path('', View.as_view(), name='own'), path('api/shop/', View.as_view(), name='own'),"
    edited = text.replace(line, f"{line}{own}\n" if "[" in line else f"{own}{line}", 1)
    urls = ModuleType("urls")
    exec(f"from django.views import View\n{edited}", vars(urls))

    names = {path: resolve(path, urls).url_name for path in ("/api/shop/", "/status/")}

    assert names == {"/api/shop/": "own", "/status/": "status"}
    # The project's view, and not the stack's redirect.
    assert getattr(resolve("/", urls).func, "view_class", None) is not RedirectView


def test_status_page_shows_anonymous_visitors_only_that_the_site_is_up(client: Client) -> None:
    answer = client.get("/status/")

    text = answer.content.decode()
    assert answer.status_code == 200
    assert "The site is up" in text
    assert links(answer) == []
    for word in (SERVER, RELEASE, "settings", "Django", "admin", "python"):
        assert word not in text


def test_status_page_is_not_cached(client: Client) -> None:
    assert {"no-store", "private"} <= set(client.get("/status/")["Cache-Control"].split(", "))


def test_status_page_shows_the_profile_to_everyone_with_debug(
    client: Client, settings: Settings
) -> None:
    settings.DEBUG = True

    answer = client.get("/status/")

    assert SERVER in answer.content.decode()
    assert RELEASE in answer.content.decode()
    assert links(answer) == ["/profile/", "/healthz", "/admin/"]


@pytest.mark.django_db
@pytest.mark.parametrize("staff", [True, False])
def test_status_page_shows_the_profile_to_staff_only_without_debug(
    client: Client, staff: bool
) -> None:
    client.force_login(User.objects.create_user("someone", is_staff=staff))

    text = client.get("/status/").content.decode()

    assert (SERVER in text, RELEASE in text) == (staff, staff)
    assert ("<strong>test</strong> settings" in text) == staff
    assert ('id="stack"' in text) == staff
    assert "Signed in as <strong>someone</strong>" in text


@pytest.mark.django_db
def test_status_page_shows_staff_fields_outside_profile_fields(
    client: Client, settings: Settings
) -> None:
    """PROFILE_FIELDS limits all other visitors, as in /profile/."""
    settings.PROFILE_FIELDS = ["release"]
    client.force_login(User.objects.create_user("someone", is_staff=True))

    text = client.get("/status/").content.decode()

    assert SERVER in text
    assert "<strong></strong>" not in text


def test_status_page_with_debug_shows_only_profile_fields(
    client: Client, settings: Settings
) -> None:
    settings.DEBUG, settings.PROFILE_FIELDS = True, ["release"]

    text = client.get("/status/").content.decode()

    assert RELEASE in text
    assert SERVER not in text
    assert "<strong></strong>" not in text


@pytest.mark.parametrize("module", ["uwsgi", "gunicorn", ""])
def test_status_page_names_the_application_server(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    settings.DEBUG = True
    for name in APP_SERVERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    if module:
        monkeypatch.setitem(sys.modules, module, ModuleType(module))

    text = client.get("/status/").content.decode()

    assert [title for title in APP_SERVERS.values() if title in text] == (
        [APP_SERVERS[module]] if module else []
    )


def test_status_page_escapes_values(client: Client, settings: Settings) -> None:
    settings.DEBUG, settings.PROFILE = True, "<b>server"

    text = client.get("/status/").content.decode()

    assert "&lt;b&gt;server" in text
    assert "<b>" not in text


def test_favicon_redirects_to_the_static_icon(client: Client) -> None:
    answer = client.get("/favicon.ico")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/static/ops/icon.svg")


@pytest.mark.parametrize("debug", [True, False])
def test_status_page_is_valid_html_and_loads_only_files_of_this_site(
    client: Client, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug

    answer = client.get("/status/")

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.content.decode())
    assert [tag for tag, _ in page.tags].count("title") == 1
    sources = [attrs.get("href") or attrs.get("src") or "" for _, attrs in page.tags]
    assert not [source for source in sources if "//" in source]
    assert "/static/ops/status.css" in sources
