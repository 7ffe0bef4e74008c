"""Pages answer in the browser's language; a site of one language pays nothing for it."""

from typing import Any

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from ops.languages import LanguageMiddleware

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
def test_error_page_is_in_the_language_of_the_browser(
    accepted: str, language: str, words: str
) -> None:
    answer = get("/nowhere/", accepted)

    page = answer.content.decode()
    assert f'<html lang="{language}">' in page and f"<h1>{words}</h1>" in page
    assert answer["Content-Language"] == language
    # A cache in front keeps an answer for each language.
    assert set(answer["Vary"].split(", ")) >= {"Accept", "Accept-Language"}


@pytest.mark.usefixtures("german")
def test_error_of_the_api_is_in_the_language_of_the_client() -> None:
    assert get("/nowhere/", accept="application/json").json() == {"detail": "Nicht gefunden."}


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
    assert '<html lang="en-us">' in answer.content.decode()
