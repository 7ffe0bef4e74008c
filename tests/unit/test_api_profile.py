"""/profile/: the active settings; PROFILE_FIELDS limits what visitors see."""

import json
import platform
import socket

import django
import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from ops import VERSION
from ops.environment.contract import PROFILE_FIELDS
from ops.profile import active_profile

User = get_user_model()

# Without the django_db mark, pytest-django refuses every query.
PATHS = ("/profile/", "/profile")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize("path", PATHS)
def test_profile_is_json_without_a_database_query(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {
        "settings": "test",
        "server": "standalone",
        "release": "unreleased",
        "stack": VERSION,
        "hostname": socket.gethostname(),
        "django": django.get_version(),
        "python": platform.python_version(),
        "debug": False,
    }


def test_profile_fields_are_in_the_order_of_profile_fields(client: Client) -> None:
    pairs = json.loads(client.get("/profile/").content, object_pairs_hook=list)

    assert tuple(name for name, _ in pairs) == PROFILE_FIELDS


def test_profile_has_every_field_of_profile_fields() -> None:
    assert set(active_profile()) == set(PROFILE_FIELDS)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mysite.settings.production", "production"),
        ("mysite.settings.staging", "staging"),
        ("elsewhere", "elsewhere"),
    ],
)
def test_profile_settings_is_the_last_part_of_the_settings_module(
    client: Client, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", module)

    assert client.get("/profile/").json()["settings"] == name
    assert client.get("/profile/?format=txt").content == f"{name}\n".encode()


def test_profile_shows_server_release_and_debug_from_settings(
    client: Client, settings: Settings
) -> None:
    settings.PROFILE, settings.RELEASE, settings.DEBUG = "set2", "2025-01-31.4f2c1ab", True

    profile = client.get("/profile/").json()

    assert (profile["server"], profile["release"]) == ("set2", "2025-01-31.4f2c1ab")
    assert profile["debug"] is True


def test_profile_shows_anonymous_visitors_only_profile_fields(
    client: Client, settings: Settings
) -> None:
    settings.PROFILE_FIELDS = ["release", "settings"]

    assert list(client.get("/profile/").json()) == ["settings", "release"]


def test_profile_as_text_is_empty_when_settings_is_hidden(
    client: Client, settings: Settings
) -> None:
    settings.PROFILE_FIELDS = ["server"]

    assert client.get("/profile/?format=txt").content == b"\n"


@pytest.mark.django_db
@pytest.mark.parametrize("staff", [True, False])
def test_profile_shows_every_field_to_staff_only(
    client: Client, settings: Settings, staff: bool
) -> None:
    settings.PROFILE_FIELDS = ["settings"]
    client.force_login(User.objects.create_user("someone", is_staff=staff))

    shown = tuple(client.get("/profile/").json())

    assert shown == (PROFILE_FIELDS if staff else ("settings",))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "accept"), [("", "text/plain"), ("?format=txt", "*/*"), ("?format=txt", BROWSER)]
)
def test_profile_as_text_is_the_settings_name(
    client: Client, path: str, query: str, accept: str
) -> None:
    answer = client.get(path + query, headers={"accept": accept})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content == b"test\n"


@pytest.mark.parametrize(
    ("query", "accept"),
    [("", BROWSER), ("", "*/*"), ("", ""), ("?format=json", BROWSER), ("?format=json", "")],
)
def test_profile_is_json_unless_text_is_requested(client: Client, query: str, accept: str) -> None:
    answer = client.get(f"/profile/{query}", headers={"accept": accept} if accept else None)

    assert (answer.status_code, answer.json()["settings"]) == (200, "test")


def test_profile_varies_on_accept(client: Client) -> None:
    assert "Accept" in client.get("/profile/").headers["Vary"]


@pytest.mark.parametrize("name", ["xml", "api", "html", "../txt", "%00"])
def test_profile_in_an_unknown_format_is_404(client: Client, name: str) -> None:
    answer = client.get(f"/profile/?format={name}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


def test_profile_in_an_unsupported_media_type_is_406(client: Client) -> None:
    answer = client.get("/profile/", headers={"accept": "image/png"})

    assert (answer.status_code, "detail" in answer.json()) == (406, True)


@pytest.mark.parametrize("accept", ["*/*", "text/plain"])
def test_profile_allows_get_head_and_options_only(client: Client, accept: str) -> None:
    for path in PATHS:
        head = client.head(path, headers={"accept": accept})
        options = client.options(path, headers={"accept": accept})

        assert (head.status_code, head.content, options.status_code) == (200, b"", 200)
        assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        for method in (client.post, client.put, client.patch, client.delete):
            refused = method(path, headers={"accept": accept})
            assert (refused.status_code, b"not allowed" in refused.content) == (405, True)
