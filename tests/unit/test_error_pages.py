"""Django errors: HTML pages for browsers, which a project can replace, else JSON."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings

from ops.errors import WORDS
from tests.orders import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500"]

SECRET = "secret-of-the-test"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
RAISED: dict[str, Exception] = {
    "400": SuspiciousOperation(SECRET),
    "403": PermissionDenied(SECRET),
    "500": KeyError(SECRET),
    "503": OperationalError(2003, SECRET),
}
DETAILS = {
    **{status: WORDS[status] for status in ("400", "403", "404", "500")},
    "503": "The database is not available. Please try again shortly.",
}


def fail(request: HttpRequest, status: str) -> NoReturn:
    raise RAISED[status]


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("form", form),
    *(
        path(f"{prefix}<int:status>", lambda r, status: fail(r, str(status)))
        for prefix in ("", "api/")
    ),
]


@pytest.fixture(autouse=True)
def answers_errors(client: Client, settings: Settings, project: None) -> None:
    settings.ROOT_URLCONF = __name__
    client.raise_request_exception = False


def get(client: Client, path: str, accept: str | None) -> Any:
    return client.get(path, headers={"Accept": accept} if accept is not None else {})


def path_of(status: str) -> str:
    return "/nothing" if status == "404" else f"/{status}"


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/html, application/json", "text/*"])
@pytest.mark.parametrize("status", DETAILS)
def test_browser_gets_html_error_page(client: Client, status: str, accept: str) -> None:
    answer = get(client, path_of(status), accept)

    text = answer.content.decode()
    assert answer.status_code == int(status)
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    assert DETAILS[status] in text
    assert "Accept" in answer["Vary"]
    assert SECRET not in text and "{{" not in text


@pytest.mark.parametrize(
    "accept",
    [
        *(None, "", "*/*", "application/json", "image/png", "nonsense"),
        *("application/json, text/html", "text/html;q=0.5, application/json", "text/html;q=0, */*"),
    ],
)
@pytest.mark.parametrize("status", DETAILS)
def test_other_clients_get_json_error(client: Client, status: str, accept: str | None) -> None:
    answer = get(client, path_of(status), accept)

    assert answer.status_code == int(status)
    assert answer.json() == {"detail": DETAILS[status]}
    assert "Accept" in answer["Vary"]


@pytest.mark.parametrize("status", DETAILS)
def test_api_error_is_json_for_browsers_too(client: Client, status: str) -> None:
    answer = get(client, f"/api{path_of(status)}", BROWSER)

    assert (answer.status_code, set(answer.json())) == (int(status), {"detail"})


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_csrf_error_page_says_to_reload(accept: str) -> None:
    client = Client(enforce_csrf_checks=True)

    answer = client.post("/form", headers={"Accept": accept})

    assert answer.status_code == 403
    assert answer["Content-Type"].startswith(
        "text/html" if accept == BROWSER else "application/json"
    )
    assert "reload the page" in answer.content.decode()


@pytest.mark.parametrize("status", DETAILS)
def test_project_template_replaces_one_error_page(
    client: Client, settings: Settings, tmp_path: Path, status: str
) -> None:
    use_templates(settings, tmp_path, **{f"{status}.html": "own {{ status }} {{ detail }}"})

    for other in DETAILS:
        text = get(client, path_of(other), BROWSER).content.decode()
        assert (text == f"own {other} {DETAILS[other]}") == (other == status)


def test_project_template_replaces_all_error_pages(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    use_templates(settings, tmp_path, **{"error.html": "own {{ detail }}"})

    for status in DETAILS:
        assert get(client, path_of(status), BROWSER).content.decode() == f"own {DETAILS[status]}"


def test_404_template_has_user_and_csrf_token(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    text = "{{ user.is_authenticated }} {{ request_path }} {% csrf_token %}"
    use_templates(settings, tmp_path, **{"404.html": text})

    page = get(client, "/nothing", BROWSER).content.decode()

    assert page.startswith('False /nothing <input type="hidden" name="csrfmiddlewaretoken"')


def use_templates(settings: Settings, folder: Path, **texts: str) -> None:
    """Add a template folder with these files."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [folder, *engine["DIRS"]]}]


@pytest.mark.parametrize("status", ["400", "500", "503"])
def test_error_page_needs_no_context_processor(
    client: Client, settings: Settings, status: str
) -> None:
    """They may need the database or the session."""
    (engine,) = settings.TEMPLATES
    processors = [f"{__name__}.broken"]
    settings.TEMPLATES = [{**engine, "OPTIONS": {"context_processors": processors}}]

    answer = get(client, path_of(status), BROWSER)

    assert answer.status_code == int(status)
    assert DETAILS[status] in answer.content.decode()


def broken(request: HttpRequest) -> NoReturn:
    """Fail as a context processor does while the database is down."""
    raise OperationalError(2003, SECRET)


@pytest.mark.parametrize("status", DETAILS)
def test_csp_of_an_error_page_allows_only_its_own_style(
    client: Client, settings: Settings, tmp_path: Path, status: str
) -> None:
    style = "\nh1 { content: 'ä' }\n"
    use_templates(settings, tmp_path, **{"error.html": f"<style>{style}</style>"})

    answer = get(client, path_of(status), BROWSER)

    value = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{value}'" in answer["Content-Security-Policy"].split("; ")
