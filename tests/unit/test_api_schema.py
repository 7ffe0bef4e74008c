"""The OpenAPI schema and its page: complete, and true of every response."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from schemathesis.specs.openapi.checks import positive_data_acceptance

from mysite.wsgi import application
from ops.throttling import RateThrottle

User = get_user_model()

# Few enough for a unit test, and the same in each run.
EXAMPLES = hypothesis.settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def serve(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve the site; add REMOTE_ADDR, which schemathesis does not set."""
    return application({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)


@pytest.fixture
def token(
    db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return a user's token; files go to a folder of the test, and throttling is off."""
    settings.DEBUG = True
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(RateThrottle, "rate", lambda self: (0, 1))
    yield Token.objects.create(user=User.objects.create_user("someone")).key


def schema() -> dict[str, Any]:
    """Return the OpenAPI schema of the test project."""
    return SchemaGenerator(urlconf="tests.orders").get_schema(public=True)


@cache
def api_schema() -> Any:
    """Return the schema from which schemathesis generates requests."""
    result = schemathesis.openapi.from_dict(schema())
    result.app = serve
    return result


# A schema cannot describe which passwords are correct.
REFUSES_VALID_DATA = {"/api/token/"}


@api_schema().parametrize()
@EXAMPLES
def test_responses_match_the_openapi_schema(case: Any, token: str) -> None:
    left_out = [positive_data_acceptance] if case.operation.path in REFUSES_VALID_DATA else []
    case.call_and_validate(
        headers={"Authorization": f"Token {token}", "Host": "localhost"}, excluded_checks=left_out
    )


def test_openapi_schema_is_valid_and_lists_every_endpoint() -> None:
    """A warning means that drf-spectacular guessed a part of an endpoint."""
    call_command("spectacular", validate=True, fail_on_warn=True, file=os.devnull)

    operations = [
        (method, path) for path, methods in schema()["paths"].items() for method in methods
    ]
    assert sorted(operations) == [
        ("get", "/api/orders/"),
        ("get", "/profile/"),
        ("post", "/api/orders/"),
        ("post", "/api/token/"),
    ]


@pytest.mark.parametrize(
    ("status", "operations"),
    [
        ("400", {"post /api/token/"}),
        ("403", {"post /api/orders/"}),
    ],
)
def test_openapi_schema_lists_400_and_403_where_they_can_occur(
    status: str, operations: set[str]
) -> None:
    result = {
        f"{method} {path}"
        for path, methods in schema()["paths"].items()
        for method, operation in methods.items()
        if status in operation["responses"]
    }

    assert result == operations


@pytest.mark.django_db
def test_schema_and_docs_need_a_login_without_debug(client: Client) -> None:
    assert client.get("/api/schema/").status_code == 401
    docs = client.get("/api/docs/")
    assert (docs.status_code, docs["Location"]) == (302, "/accounts/login/?next=/api/docs/")

    client.force_login(User.objects.create_user("someone"))
    assert client.get("/api/schema/").status_code == 200
    assert client.get("/api/docs/").status_code == 200


@pytest.mark.django_db
def test_schema_accepts_a_token(client: Client) -> None:
    key = Token.objects.create(user=User.objects.create_user("someone")).key

    answer = client.get(
        "/api/schema/", {"format": "json"}, headers={"authorization": f"Token {key}"}
    )

    assert answer.json()["openapi"].startswith("3.")


def test_docs_page_has_no_inline_script_or_style(client: Client, settings: Settings) -> None:
    """A Content-Security-Policy that allows only files of this site must not break it."""
    settings.DEBUG = True
    page = client.get("/api/docs/")
    text = page.content.decode()

    assert page["Cache-Control"] == "no-store"
    assert "<style" not in text and " style=" not in text and " on" + "click" not in text
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL)
    assert scripts
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    for attributes, content in scripts:
        assert "src=" in attributes and not content.strip()
    for source in sources:
        assert source.startswith("/") and not source.startswith("//")
        if source.startswith(django_settings.STATIC_URL):
            assert finders.find(source.removeprefix(django_settings.STATIC_URL)), source
        else:
            assert client.get(source).status_code == 200, source


def test_docs_script_loads_the_schema(client: Client, settings: Settings) -> None:
    settings.DEBUG = True
    script = client.get("/api/docs/?script=")

    assert script["Content-Type"] == "application/javascript"
    assert script["Cache-Control"] == "no-store"
    assert 'url: "/api/schema/"' in script.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize(
    "path", ["/api/", "/api/nothing/", "/api/nothing/1/", "/api/a/b/c", "/api/orders//"]
)
def test_unknown_api_path_is_404_as_json(client: Client, method: str, path: str) -> None:
    answer = getattr(client, method)(path)

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize("method", ["get", "post"])
def test_api_redirects_to_the_path_with_a_trailing_slash_and_keeps_the_method(
    client: Client, method: str
) -> None:
    answer = getattr(client, method)("/api/orders?a=b")

    assert (answer.status_code, answer["Location"]) == (308, "/api/orders/?a=b")


def test_django_errors_are_json_under_api(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise KeyError

    monkeypatch.setattr("tests.orders.count", fail)
    client.raise_request_exception = False
    broken = client.get("/api/orders/")
    foreign = client.get("/api/orders/", headers={"host": "evil.example"})

    assert (broken.status_code, foreign.status_code) == (500, 400)
    assert set(broken.json()) == set(foreign.json()) == {"detail"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"username": "a\\u0000", "password": "b"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\x00", "application/octet-stream", 415),
        (b"x", "multipart/form-data", 400),
        (b"x", "not a kind", 415),
    ],
)
def test_malformed_request_body_is_refused(
    client: Client, body: bytes, kind: str, status: int
) -> None:
    answer = client.post("/api/token/", body, content_type=kind)

    assert answer.status_code == status
    assert answer.json()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/orders/", "GET, POST, HEAD, OPTIONS"),
        ("/api/token/", "POST, OPTIONS"),
        ("/profile/", "GET, HEAD, OPTIONS"),
    ],
)
def test_unsupported_method_is_405_with_allow_header(
    client: Client, path: str, methods: str
) -> None:
    client.force_login(User.objects.create_user("someone"))

    for answer in (client.delete(path), client.trace(path), client.generic("ODD", path)):
        assert (answer.status_code, answer["Allow"]) == (405, methods)
