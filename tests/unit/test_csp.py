"""The Content-Security-Policy: strict, on every response, and obeyed by the pages."""

import re

import pytest
from csp.constants import NONCE
from csp.decorators import csp_update
from csp.exceptions import CSPNonceError
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path as url
from pytest_django import Settings

User = get_user_model()

PATHS = ["/", "/status/", "/accounts/login/", "/admin/login/", "/profile/", "/no-such-page"]
STRICT = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "style-src": {"'self'"},
    "img-src": {"'self'", "data:"},
    "font-src": {"'self'"},
    "connect-src": {"'self'"},
    "form-action": {"'self'"},
    "base-uri": {"'none'"},
    "frame-ancestors": {"'none'"},
}
HEADER = "Content-Security-Policy"


@csp_update({"img-src": "https://cdn.example"})
def map_page(request: HttpRequest) -> HttpResponse:
    """Return a page whose view adds a source, as one string."""
    return HttpResponse("map")


def sandbox(request: HttpRequest) -> HttpResponse:
    """Return a file with its own policy."""
    return HttpResponse("file", headers={HEADER: "sandbox"})


def script(request: HttpRequest) -> HttpResponse:
    """Return a page with an inline script's nonce, unless the query asks for none."""
    return HttpResponse("" if request.GET else request.csp_nonce)


urlpatterns = [url("map/", map_page), url("file/", sandbox), url("script/", script)]


def policy(client: Client, path: str) -> dict[str, set[str]]:
    """Return the allowed sources of each directive."""
    directives = client.get(path).headers["Content-Security-Policy"].split("; ")
    return {
        name: set(sources.split())
        for name, _, sources in (one.partition(" ") for one in directives)
    }


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_a_strict_content_security_policy(client: Client, path: str) -> None:
    assert policy(client, path) == STRICT


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/status/", "/accounts/login/"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_pages_have_no_inline_script_or_style(
    client: Client, settings: Settings, path: str, signed_in: bool
) -> None:
    settings.DEBUG = True
    if signed_in:
        client.force_login(User.objects.create_user("someone", is_staff=True))

    text = client.get(path, follow=True).content.decode()

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_debug_error_page_has_no_content_security_policy(
    client: Client, settings: Settings
) -> None:
    settings.DEBUG = True

    assert "Content-Security-Policy" not in client.get("/no-such-page").headers


def test_csp_allows_images_from_media_url(client: Client, settings: Settings) -> None:
    settings.MEDIA_URL = "https://bucket.example:9000/media/"

    assert policy(client, "/status/")["img-src"] == {
        "'self'",
        "data:",
        "https://bucket.example:9000",
    }
    assert policy(client, "/profile/") == STRICT


def test_broken_storage_leaves_the_content_security_policy_strict(
    client: Client, settings: Settings
) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "tests.unit.test_csp.BrokenStorage"},
    }

    assert policy(client, "/status/") == STRICT


@pytest.mark.parametrize("path", [*PATHS, "/livez"])
def test_csp_mode_report_only_sends_only_the_report_only_header(
    client: Client, settings: Settings, path: str
) -> None:
    strict = client.get(path).headers.get(HEADER)
    settings.CSP_MODE = "report-only"

    headers = client.get(path).headers

    assert HEADER not in headers
    assert headers.get(f"{HEADER}-Report-Only") == strict
    assert bool(strict) == (path != "/livez")


@pytest.mark.parametrize("path", PATHS)
def test_csp_mode_off_sends_no_policy(client: Client, settings: Settings, path: str) -> None:
    settings.CSP_MODE = "off"

    assert not [name for name in client.get(path).headers if name.startswith(HEADER)]


@pytest.mark.parametrize("mode", ["off", "report-only", "strict"])
def test_csp_header_set_by_a_view_is_kept_in_every_mode(
    client: Client, settings: Settings, mode: str
) -> None:
    settings.ROOT_URLCONF, settings.CSP_MODE = __name__, mode

    assert client.get("/file/").headers[HEADER] == "sandbox"


def test_csp_path_rules_add_sources_only_under_their_path(
    client: Client, settings: Settings
) -> None:
    settings.CONTENT_SECURITY_POLICY_PATHS = {
        "/status/": {"script-src": ["'unsafe-inline'"], "frame-src": ["'self'"]},
        "/stat": {"script-src": ["https://cdn.example"], "frame-ancestors": ["'self'"]},
        "/admin/": {"font-src": ["https://fonts.example"]},
    }

    assert policy(client, "/status/") == {
        **STRICT,
        "script-src": {"'self'", "'unsafe-inline'", "https://cdn.example"},
        "frame-src": {"'self'"},
        "frame-ancestors": {"'self'"},
    }
    assert policy(client, "/admin/login/") == {
        **STRICT,
        "font-src": {"'self'", "https://fonts.example"},
    }
    assert policy(client, "/profile/") == STRICT


def test_csp_path_rules_and_sources_of_a_view_are_merged(
    client: Client, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.CONTENT_SECURITY_POLICY_PATHS = {"/": {"img-src": ["blob:"]}}

    assert policy(client, "/map/")["img-src"] == {
        *STRICT["img-src"],
        "https://cdn.example",
        "blob:",
    }


def test_policy_of_one_response_is_not_that_of_the_next(client: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__

    for path, images in (("/map/", {"https://cdn.example"}), ("/script/?none", set())) * 2:
        assert policy(client, path)["img-src"] == STRICT["img-src"] | images


def test_each_page_has_a_nonce_of_its_own(client: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    directives = {"default-src": ["'none'"], "script-src": [NONCE]}
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": directives}

    without = policy(client, "/script/?none")
    pages = [client.get("/script/") for _ in range(2)]

    assert (
        without
        == policy(client, "/script/?none")
        == {"default-src": {"'none'"}, "script-src": set()}
    )
    first, second = (page.content.decode() for page in pages)
    assert first != second
    for page, nonce in zip(pages, (first, second), strict=True):
        assert f"script-src 'nonce-{nonce}'" in page.headers[HEADER]


def test_nonce_is_refused_after_the_policy_was_sent(client: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__

    for _ in range(2):
        request = client.get("/script/?none").wsgi_request
        with pytest.raises(CSPNonceError):
            str(request.csp_nonce)


def test_storage_is_asked_again_after_a_failure(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "tests.unit.test_csp.BrokenStorage"},
    }
    assert policy(client, "/status/") == STRICT

    monkeypatch.setattr(BrokenStorage, "url", lambda storage, name: "https://bucket.example/any")

    assert "https://bucket.example" in policy(client, "/status/")["img-src"]
    assert policy(client, "/profile/") == STRICT


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"map/": {}}, "begin the path with a slash"),
        ({"/map/": {"image-src": ["blob:"]}}, "'image-src' is not a directive"),
        ({"/map/": {"img-src": "blob:"}}, "list the sources of 'img-src'"),
        ({"/map/": {"img-src": ["blob: data:"]}}, "list the sources of 'img-src'"),
        ({"/map/": {"img-src": ["blob:", "x; script-src *"]}}, "list the sources of 'img-src'"),
    ],
)
def test_system_check_refuses_malformed_csp_path_rules(
    settings: Settings, rules: dict[str, dict[str, object]], problem: str
) -> None:
    settings.CONTENT_SECURITY_POLICY_PATHS = rules

    (result,) = [one for one in run_checks() if one.id == "ops.E001"]

    assert problem in result.msg


def test_system_check_accepts_valid_csp_path_rules(settings: Settings) -> None:
    settings.CONTENT_SECURITY_POLICY_PATHS = {"/map/": {"img-src": ["blob:"], "frame-src": []}}

    assert [one for one in run_checks() if one.id == "ops.E001"] == []


class BrokenStorage:
    """A storage without its credentials."""

    def url(self, name: str) -> str:
        raise OSError("no credentials")
