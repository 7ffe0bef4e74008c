"""Pages answer in the browser's language; a site of one language pays nothing for it."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from ops.languages import LanguageMiddleware
from tests.tree import ROOT

GERMAN = "de-DE,de;q=0.9,en;q=0.5"


@pytest.fixture
def german(settings: Settings) -> None:
    """Give the site a second language."""
    settings.LANGUAGES = [("en-us", "English"), ("de", "Deutsch")]


def get(path: str, accepted: str = GERMAN, accept: str = "text/html") -> Any:
    """Return the answer to a browser that asks for these languages."""
    return Client().get(path, headers={"Accept": accept, "Accept-Language": accepted})


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("accepted", "language", "words"),
    [
        (GERMAN, "de", "Nicht gefunden."),
        ("fr, de;q=0.5", "de", "Nicht gefunden."),
        ("en-GB", "en-us", "Not found."),
        ("fr", "en-us", "Not found."),
        ("", "en-us", "Not found."),
    ],
)
def test_answer_is_in_the_language_that_the_client_accepts(
    accepted: str, language: str, words: str
) -> None:
    answer = get("/nowhere/", accepted, "application/json")

    assert answer.json() == {"detail": words}
    assert answer["Content-Language"] == language
    # A cache in front keeps an answer for each language.
    assert set(answer["Vary"].split(", ")) >= {"Accept", "Accept-Language"}


@pytest.mark.usefixtures("german")
def test_error_page_that_other_servers_send_too_is_english_and_says_so() -> None:
    page = get("/nowhere/").content.decode()

    assert '<html lang="en">' in page and "<h1>Not found.</h1>" in page
    assert "{%" not in (ROOT / "templates/error.html").read_text()


@pytest.mark.usefixtures("german")
def test_error_page_of_a_team_can_be_translated(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("{% load i18n %}{% translate detail %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    assert get("/nowhere/").content.decode() == "Nicht gefunden."


@pytest.mark.usefixtures("german", "db")
def test_page_for_operators_is_english_and_says_so() -> None:
    assert '<html lang="en">' in get("/status/").content.decode()


def test_site_of_one_language_has_no_middleware_and_no_header_for_it(settings: Settings) -> None:
    settings.LANGUAGES = [("en-us", "English")]
    with pytest.raises(MiddlewareNotUsed):
        LanguageMiddleware(lambda request: HttpResponse())

    answer = get("/nowhere/")
    assert "Content-Language" not in answer.headers
    assert "Accept-Language" not in answer["Vary"]
