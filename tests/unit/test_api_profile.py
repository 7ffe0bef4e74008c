"""/profile/: which settings are active, shown to each as far as the operator wants."""

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

# Also without a database mark pytest-django lets nothing reach the database.
PATHS = ("/profile/", "/profile")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_gets_json_without_a_query(client: Client, path: str) -> None:
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


def test_the_fields_come_in_the_contract_s_order(client: Client) -> None:
    pairs = json.loads(client.get("/profile/").content, object_pairs_hook=list)

    assert tuple(name for name, _ in pairs) == PROFILE_FIELDS


def test_every_field_that_can_be_shown_exists() -> None:
    assert set(active_profile()) == set(PROFILE_FIELDS)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mysite.settings.production", "production"),
        ("mysite.settings.staging", "staging"),
        ("elsewhere", "elsewhere"),
    ],
)
def test_the_settings_name_is_the_module_s_last_part(
    client: Client, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", module)

    assert client.get("/profile/").json()["settings"] == name
    assert client.get("/profile/?format=txt").content == f"{name}\n".encode()


def test_server_release_and_debug_are_the_settings(client: Client, settings: Settings) -> None:
    settings.PROFILE, settings.RELEASE, settings.DEBUG = "set2", "2025-01-31.4f2c1ab", True

    profile = client.get("/profile/").json()

    assert (profile["server"], profile["release"]) == ("set2", "2025-01-31.4f2c1ab")
    assert profile["debug"] is True


def test_a_stranger_sees_what_the_operator_names(client: Client, settings: Settings) -> None:
    settings.PROFILE_FIELDS = ["release", "settings"]

    assert list(client.get("/profile/").json()) == ["settings", "release"]


def test_hidden_settings_are_hidden_as_text_too(client: Client, settings: Settings) -> None:
    settings.PROFILE_FIELDS = ["server"]

    assert client.get("/profile/?format=txt").content == b"\n"


@pytest.mark.django_db
@pytest.mark.parametrize("staff", [True, False])
def test_staff_see_every_field_and_other_users_do_not(
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
def test_the_settings_name_alone_as_text(
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
def test_json_is_what_all_others_get(client: Client, query: str, accept: str) -> None:
    answer = client.get(f"/profile/{query}", headers={"accept": accept} if accept else None)

    assert (answer.status_code, answer.json()["settings"]) == (200, "test")


def test_caches_know_that_the_answer_depends_on_accept(client: Client) -> None:
    assert "Accept" in client.get("/profile/").headers["Vary"]


@pytest.mark.parametrize("name", ["xml", "api", "html", "../txt", "%00"])
def test_an_unknown_format_is_not_found(client: Client, name: str) -> None:
    answer = client.get(f"/profile/?format={name}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


def test_a_type_that_is_not_offered_is_refused(client: Client) -> None:
    answer = client.get("/profile/", headers={"accept": "image/png"})

    assert (answer.status_code, "detail" in answer.json()) == (406, True)


@pytest.mark.parametrize("accept", ["*/*", "text/plain"])
def test_head_and_options_answer_and_nothing_is_written(client: Client, accept: str) -> None:
    for path in PATHS:
        head = client.head(path, headers={"accept": accept})
        options = client.options(path, headers={"accept": accept})

        assert (head.status_code, head.content, options.status_code) == (200, b"", 200)
        assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        for method in (client.post, client.put, client.patch, client.delete):
            refused = method(path, headers={"accept": accept})
            assert (refused.status_code, b"not allowed" in refused.content) == (405, True)
