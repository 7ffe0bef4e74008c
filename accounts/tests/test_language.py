"""The sign-in pages are in the browser's language, of those in LANGUAGES."""

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings


@pytest.mark.parametrize(("accepted", "label"), [("de", "Benutzername"), ("fr", "Username")])
def test_sign_in_page_is_in_the_language_of_the_browser(
    settings: Settings, accepted: str, label: str
) -> None:
    settings.LANGUAGE_CODE = "en-us"
    settings.LANGUAGES = [("en-us", "English"), ("de", "Deutsch")]

    page = Client().get(reverse("login"), headers={"Accept-Language": accepted}).content.decode()

    assert f">{label}</label>" in page
    assert ('<html lang="de">' in page) == (accepted == "de")


def test_sign_in_page_of_a_site_in_another_language_says_so(settings: Settings) -> None:
    settings.LANGUAGE_CODE, settings.LANGUAGES = "de", [("de", "Deutsch")]

    page = Client().get(reverse("login"), headers={"Accept-Language": "en"}).content.decode()

    assert '<html lang="de">' in page and ">Benutzername</label>" in page
