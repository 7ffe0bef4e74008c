"""The Content-Security-Policy: of every answer, strict, and kept by this project's own pages."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

User = get_user_model()

PATHS = ["/", "/status/", "/accounts/login/", "/admin/login/", "/profile/", "/no-such-page"]
STRICT = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "style-src": {"'self'"},
    "img-src": {"'self'", "data:"},
    "connect-src": {"'self'"},
    "form-action": {"'self'"},
    "base-uri": {"'none'"},
    "frame-ancestors": {"'none'"},
}


def policy(client: Client, path: str) -> dict[str, set[str]]:
    """Return what the answer's policy allows for each directive."""
    directives = client.get(path).headers["Content-Security-Policy"].split("; ")
    return {
        name: set(sources.split())
        for name, _, sources in (one.partition(" ") for one in directives)
    }


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_policy(client: Client, path: str) -> None:
    assert policy(client, path) == STRICT


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/status/", "/accounts/login/"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_our_pages_hold_no_script_and_no_style(
    client: Client, settings: Settings, path: str, signed_in: bool
) -> None:
    settings.DEBUG = True
    if signed_in:
        client.force_login(User.objects.create_user("someone", is_staff=True))

    text = client.get(path, follow=True).content.decode()

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_debug_s_own_error_pages_are_left_readable(client: Client, settings: Settings) -> None:
    settings.DEBUG = True

    assert "Content-Security-Policy" not in client.get("/no-such-page").headers


def test_pictures_may_come_from_where_uploads_are_kept(client: Client, settings: Settings) -> None:
    settings.MEDIA_URL = "https://bucket.example:9000/media/"

    assert policy(client, "/status/")["img-src"] == {
        "'self'",
        "data:",
        "https://bucket.example:9000",
    }
    assert policy(client, "/profile/") == STRICT


def test_a_storage_that_does_not_answer_costs_no_page(client: Client, settings: Settings) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "tests.unit.test_csp.BrokenStorage"},
    }

    assert policy(client, "/status/") == STRICT


class BrokenStorage:
    """A storage without its credentials."""

    def url(self, name: str) -> str:
        raise OSError("no credentials")
