"""The local and production layers, through HAProxy."""

import pytest
import requests

from tests.stack.compose import Stack
from tests.waiting import eventually


def request_servers(stack: Stack, count: int) -> list[str]:
    return [stack.get("/profile/").json()["server"] for _ in range(count)]


def test_requests_alternate_between_the_servers(local: Stack) -> None:
    turns = request_servers(local, 6)

    assert turns in (["set1", "set2"] * 3, ["set2", "set1"] * 3)


def test_up_prints_the_address_of_the_site_last(local: Stack) -> None:
    assert f"The site: http://localhost:{local.http_port}/\n" in local.logs("haproxy")


def test_local_layer_reports_settings_debug_and_hostname(local: Stack) -> None:
    profile = local.get("/profile").json()

    assert profile["settings"] == "local"
    assert profile["debug"] is True
    assert profile["hostname"] in {local.container(name)[:12] for name in ("server1", "server2")}


def test_profile_is_plain_text_with_format_txt(local: Stack) -> None:
    assert local.get("/profile/?format=txt").text == "local\n"


CREATE_USER = """
import django
django.setup()
from django.contrib.auth import get_user_model
get_user_model().objects.create_user("forgetful", "forgetful@example.com", "a-password-of-the-test")
"""


def test_worker_sends_the_mail_of_a_password_reset_to_the_page_of_mails(local: Stack) -> None:
    local.python_in("server1", CREATE_USER)
    path = "/accounts/password_reset/"
    cookies = local.get(path).cookies

    form = {"email": "forgetful@example.com", "csrfmiddlewaretoken": cookies["csrftoken"]}
    assert local.post(path, data=form, cookies=cookies).status_code == 200

    def is_sent() -> bool:
        page = local.get("/status/mails/").text
        return "to forgetful@example.com" in page and "waits for the worker" not in page

    eventually(is_sent, seconds=30, what="the worker has sent the mail")
    assert "reset/" in local.get("/status/mails/").text


def test_plain_text_profile_shows_only_the_settings(production: Stack) -> None:
    answer = production.get("/profile", headers={"Accept": "text/plain"})
    assert answer.text == "production\n"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_production_shows_anonymous_visitors_no_servers(production: Stack) -> None:
    assert set(production.get("/profile/").json()) == {"settings", "server", "release"}
    page = production.get("/status/").text
    assert "The site is up" in page
    assert "set1" not in page and "set2" not in page


def test_form_post_is_accepted_only_from_the_origin_of_the_site(local: Stack) -> None:
    """Django compares the port with the Origin header of browsers."""
    session = requests.Session()
    form = session.get(local.url("/accounts/login/"), timeout=30)
    fields = {"csrfmiddlewaretoken": session.cookies["csrftoken"], "username": "x", "password": "y"}

    for origin, status in ((local.url("").rstrip("/"), 200), ("http://localhost:1", 403)):
        answer = session.post(form.url, fields, headers={"Origin": origin}, timeout=30)
        assert answer.status_code == status, origin


@pytest.mark.parametrize(
    ("name", "value", "file"),
    [
        ("LAYER", "prod", "docker-compose.prod.yaml"),
        ("DB_ENGINE", "oracle", "variants/oracle/compose.yaml"),
        ("SERVER_COUNT", "9", "variants/servers/compose.9.yaml"),
    ],
)
def test_compose_names_the_missing_file_of_a_wrong_value(
    local: Stack, name: str, value: str, file: str
) -> None:
    answer = local.compose("config", check=False, environment={name: value})

    assert answer.returncode != 0
    assert f"{file}: no such file" in answer.stdout


@pytest.mark.parametrize("path", ["/readyz", "/livez"])
def test_probes_answer_any_host_and_never_redirect(production: Stack, path: str) -> None:
    answer = production.get(path, headers={"Host": "10.1.2.3"}, allow_redirects=False)

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


def test_unknown_host_gets_400(production: Stack) -> None:
    assert production.get("/profile/", headers={"Host": "evil.example"}).status_code == 400


def test_check_deploy_finds_no_issues_in_production(production: Stack) -> None:
    answer = production.compose(
        *("run", "--rm", "--no-deps", "-e", "DJANGO_SECURE_SSL_REDIRECT=true", "server1"),
        *("python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"),
    )

    assert "no issues" in answer.stdout


def test_up_without_secrets_names_them_and_starts_nothing(production: Stack) -> None:
    bare = Stack(production.tree, "production")
    bare.project += "-bare"
    try:
        # Attached, so that the message is on the terminal.
        refused = bare.compose("up", check=False)
        assert refused.returncode != 0
        secrets = ("DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD", "STATS_PASSWORD")
        for name in (*secrets, "DJANGO_ALLOWED_HOSTS"):
            assert f"{name}:" in refused.stdout
        assert "local-sample-password" not in refused.stdout
        assert bare.inspect("db", "{{.State.Status}}") == "created"
        assert bare.inspect("redis", "{{.State.Status}}") == "created"
        assert bare.inspect("server1", "{{.State.Status}}") == "created"
    finally:
        bare.down(volumes=True)


def test_env_check_warns_of_a_redirect_to_https_without_a_certificate(production: Stack) -> None:
    run = ("run", "--rm", "--no-deps", "env-check")
    redirects = {"DJANGO_SECURE_SSL_REDIRECT": "true"}
    certified = {**redirects, "TLS_CERTIFICATE": "certs/localhost"}

    output = production.compose(*run, environment=redirects).stdout
    assert (
        "every page redirects to https" in output and "DJANGO_SECURE_SSL_REDIRECT=false" in output
    )
    assert "redirects to https" not in production.compose(*run, environment=certified).stdout
    assert "redirects to https" not in production.compose(*run).stdout


def test_server_without_env_check_refuses_a_missing_secret(production: Stack) -> None:
    """On Elastic Beanstalk no env-check runs before the server."""
    answer = production.compose(
        "run", "--rm", "--no-deps", "-e", "DJANGO_SECRET_KEY=", "server1", "serve", check=False
    )

    assert answer.returncode != 0
    assert "DJANGO_SECRET_KEY: it is not set" in answer.stdout
    assert "Traceback" not in answer.stdout


def test_stats_page_requires_its_password(production: Stack) -> None:
    address = f"http://127.0.0.1:{production.stats_port}/stats"
    password = production.environment["STATS_PASSWORD"]

    assert requests.get(address, timeout=10).status_code == 401
    assert requests.get(address, auth=("admin", "wrong"), timeout=10).status_code == 401
    assert "dynamic_backend" in requests.get(address, auth=("admin", password), timeout=10).text
