"""The OpenAPI schema of the demo's endpoints is complete, and responses match it."""

import io
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from PIL import Image
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from schemathesis.specs.openapi.checks import positive_data_acceptance

from demo.urls import urlpatterns
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


def call_site(environ: dict[str, Any], start_response: Any) -> Any:
    """Call the site with REMOTE_ADDR, which the caller leaves out."""
    return application({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)


def make_image() -> bytes:
    """Return a small PNG."""
    content = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def token(
    db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return a user's token; uploads go to tmp_path, and requests are not throttled."""
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(RateThrottle, "rate", lambda self: (0, 1))
    yield Token.objects.create(user=User.objects.create_user("someone")).key


def schema() -> dict[str, Any]:
    """Return the schema of the demo's endpoints."""
    return SchemaGenerator(patterns=urlpatterns).get_schema(public=True)


@cache
def load_schema() -> Any:
    """Return the schema from which schemathesis generates requests."""
    loaded = schemathesis.openapi.from_dict(schema())
    loaded.app = call_site
    return loaded


@load_schema().parametrize()
@EXAMPLES
def test_every_response_matches_the_schema(case: Any, token: str) -> None:
    # OpenAPI cannot express that the bytes must be a valid image.
    excluded_checks = [positive_data_acceptance] if case.operation.path == "/api/uploads/" else []
    case.call_and_validate(
        headers={"Authorization": f"Token {token}", "Host": "localhost"},
        excluded_checks=excluded_checks,
    )


def test_accepted_upload_response_matches_the_schema(token: str) -> None:
    upload = load_schema()["/api/uploads/"]["POST"]
    case = upload.Case(body={"image": make_image()}, media_type="multipart/form-data")

    answer = case.call_and_validate(
        headers={"Authorization": f"Token {token}", "Host": "localhost"}
    )

    assert answer.status_code == 201
    assert answer.json()["status"] == "queued"


def test_schema_is_valid_and_lists_every_operation() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=os.devnull)

    operations = [
        (method, path) for path, methods in schema()["paths"].items() for method in methods
    ]
    assert sorted(operations) == [
        ("get", "/api/hits/"),
        ("get", "/api/uploads/"),
        ("get", "/api/uploads/{id}/"),
        ("post", "/api/hits/"),
        ("post", "/api/uploads/"),
    ]


@pytest.mark.parametrize(
    ("status", "operations"),
    [
        ("400", {"get /api/uploads/", "post /api/uploads/"}),
        ("403", {"post /api/uploads/", "post /api/hits/"}),
        ("413", {"post /api/uploads/"}),
    ],
)
def test_schema_lists_error_statuses_for_their_operations(
    status: str, operations: set[str]
) -> None:
    documented = {
        f"{method} {path}"
        for path, methods in schema()["paths"].items()
        for method, operation in methods.items()
        if status in operation["responses"]
    }

    assert documented == operations


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/uploads/?page_size=0", "page_size"),
        ("/api/uploads/?page_size=-1", "page_size"),
        ("/api/uploads/?page_size=many", "page_size"),
        ("/api/uploads/?page_size=101", "page_size"),
        ("/api/uploads/?page_size=%D9%A5", "page_size"),
        (f"/api/uploads/?page_size=1{'0' * 5000}", "page_size"),
        ("/api/uploads/?page_size=0000000100000", "page_size"),
        ("/api/uploads/?page_size=0000000000", "page_size"),
        ("/api/uploads/?page_size=", "page_size"),
        ("/api/uploads/?page=0", "detail"),
        ("/api/uploads/?page=%00", "detail"),
        (f"/api/uploads/?page=1{'0' * 5000}", "detail"),
    ],
    ids=lambda value: value.removeprefix("/api/uploads/?")[:24],
)
def test_invalid_page_or_page_size_is_refused(client: Client, path: str, field: str) -> None:
    client.force_login(User.objects.create_user("someone"))

    answer = client.get(path)

    assert answer.status_code == (404 if field == "detail" else 400)
    assert set(answer.json()) == {field}


@pytest.mark.django_db
def test_unsupported_method_gets_405_with_allowed_methods(client: Client) -> None:
    client.force_login(User.objects.create_user("someone"))

    for path in ("/api/hits/", "/api/uploads/"):
        for answer in (client.delete(path), client.trace(path), client.generic("ODD", path)):
            assert (answer.status_code, answer["Allow"]) == (405, "GET, POST, HEAD, OPTIONS")
