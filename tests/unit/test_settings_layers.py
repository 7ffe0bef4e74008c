"""What each settings layer resolves to, loaded by a process of its own as a server loads it."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ops.environment.contract import SAMPLE_SECRET_KEY
from tests.tree import ROOT

SECRET_KEY = "k3y-" + "abcdefghij" * 6
REQUIRED = {
    "DJANGO_SECRET_KEY": SECRET_KEY,
    "DJANGO_ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "sqlite:////nonexistent/db.sqlite3",
    "REDIS_URL": "redis://:pa55word@redis:6379",
}
MINIMUM = {"local": {}, "dev": REQUIRED, "production": REQUIRED, "test": {}}

SHOW = """
import json, sys
import django
from django.conf import settings
from django.template import engines

django.setup()
shown = {name: getattr(settings, name, None) for name in dir(settings) if name.isupper()}
shown["template loaders"] = [
    type(loader).__module__ for loader in engines["django"].engine.template_loaders
]
print(json.dumps(shown, default=str))
"""


def run(
    *command: str, layer: str = "local", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a Python command in a layer; nothing of this process's environment but PATH counts."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_READ_DOTENV": "false",
            "DJANGO_SETTINGS_MODULE": f"mysite.settings.{layer}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def loaded(layer: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """Return the settings of a layer whose required variables are set."""
    done = run("-c", SHOW, layer=layer, **{**MINIMUM[layer], **dict(changes)})
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.parametrize(
    ("layer", "debug"), [("local", True), ("dev", True), ("production", False), ("test", False)]
)
def test_debug(layer: str, debug: bool) -> None:
    assert loaded(layer)["DEBUG"] is debug


@pytest.mark.parametrize(
    ("layer", "word", "debug"),
    [
        ("local", "false", False),
        ("dev", "false", False),
        ("production", "false", False),
        ("test", "true", False),
    ],
)
def test_debug_can_be_set_where_it_may(layer: str, word: str, debug: bool) -> None:
    assert loaded(layer, ("DJANGO_DEBUG", word))["DEBUG"] is debug


@pytest.mark.parametrize(
    ("layer", "hashed"), [("local", False), ("dev", True), ("production", True), ("test", False)]
)
def test_static_names_are_hashed_where_they_are_cached(layer: str, hashed: bool) -> None:
    backend = loaded(layer)["STORAGES"]["staticfiles"]["BACKEND"]

    assert backend.endswith(".ManifestStaticFilesStorage") is hashed
    assert loaded(layer)["STORAGES"]["default"]["BACKEND"].endswith(".DurableFileStorage")


@pytest.mark.parametrize(
    ("layer", "printed"), [("local", True), ("dev", True), ("production", False), ("test", False)]
)
def test_mail_is_printed_where_nobody_should_get_any(layer: str, printed: bool) -> None:
    assert loaded(layer)["EMAIL_BACKEND"].endswith(".console.EmailBackend") is printed


@pytest.mark.parametrize("layer", MINIMUM)
def test_the_toolbar_is_the_local_layer_s(layer: str) -> None:
    """Although every layer of this test has it installed."""
    installed = "debug_toolbar" in loaded(layer)["INSTALLED_APPS"]
    used = any("debug_toolbar" in name for name in loaded(layer)["MIDDLEWARE"])

    assert (installed, used) == ((layer == "local"),) * 2


@pytest.mark.parametrize("layer", MINIMUM)
def test_an_edited_template_shows_at_once_in_the_local_layer(layer: str) -> None:
    cached = "django.template.loaders.cached" in loaded(layer)["template loaders"]

    assert cached is (layer != "local")


def test_the_local_layer_needs_nothing() -> None:
    shown = loaded("local")

    database = shown["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert Path(database["NAME"]) == ROOT / "var" / "db.sqlite3"
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
    assert shown["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]


def test_production_is_made_for_https() -> None:
    shown = loaded("production")

    for name in ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"):
        assert shown[name] is True, name
    assert shown["SECURE_HSTS_SECONDS"] > 0
    assert shown["SECURE_CONTENT_TYPE_NOSNIFF"] is True
    assert shown["X_FRAME_OPTIONS"] == "DENY"
    assert shown["SECRET_KEY"] == SECRET_KEY
    assert shown["ALLOWED_HOSTS"] == ["www.example.com"]
    assert shown["PROFILE_FIELDS"] == ["settings", "server", "release"]


@pytest.mark.parametrize("layer", ["local", "dev", "test"])
def test_other_layers_may_be_reached_by_http(layer: str) -> None:
    shown = loaded(layer)

    assert shown["SECURE_SSL_REDIRECT"] is False
    assert shown["SECURE_HSTS_SECONDS"] == 0


REDIRECTED = """
import json, sys
import django
django.setup()
from django.test import Client

client = Client(headers={"Host": "www.example.com"})
print(json.dumps({path: client.get(path).status_code for path in sys.argv[1:]}))
"""


def test_production_answers_health_by_http_and_nothing_else() -> None:
    """With its own defaults; the checks' answer is 503 without a database."""
    health = ("/livez", "/readyz", "/healthz")
    others = ("/", "/profile/", "/healthz/", "/healthzz", "/x/healthz", "/api/orders/")
    done = run("-c", REDIRECTED, *health, *others, layer="production", **REQUIRED)

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == {
        **dict.fromkeys(health, 200),
        "/healthz": 503,
        **dict.fromkeys(others, 301),
    }


def test_every_layer_believes_the_load_balancer_about_https() -> None:
    for layer in MINIMUM:
        shown = loaded(layer)
        assert shown["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"], layer


def test_what_an_operator_may_change_about_https() -> None:
    shown = loaded(
        "production", ("DJANGO_SECURE_SSL_REDIRECT", "false"), ("DJANGO_HSTS_SECONDS", "31536000")
    )

    assert (shown["SECURE_SSL_REDIRECT"], shown["SECURE_HSTS_SECONDS"]) == (False, 31536000)


def test_hsts_binds_subdomains_and_browsers_only_where_a_variable_says_so() -> None:
    names = ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")
    subdomains = (("DJANGO_HSTS_INCLUDE_SUBDOMAINS", "true"),)
    preload = (*subdomains, ("DJANGO_HSTS_PRELOAD", "true"), ("DJANGO_HSTS_SECONDS", "31536000"))

    for changes, expected in (
        ((), (False, False)),
        (subdomains, (True, False)),
        (preload, (True, True)),
    ):
        shown = loaded("production", *changes)
        assert tuple(shown[name] for name in names) == expected


OWN_TEMPLATE = """
import sys
from mysite.settings import base

base.TEMPLATES[0]["DIRS"] = [sys.argv[1]]
import django
django.setup()
from django.template.loader import render_to_string

print(render_to_string("own.html"), render_to_string("admin/base_site.html"))
"""


@pytest.mark.parametrize("layer", MINIMUM)
def test_templates_of_a_project_s_folder_are_found_before_those_of_apps(
    layer: str, tmp_path: Path
) -> None:
    (tmp_path / "admin").mkdir()
    (tmp_path / "own.html").write_text("the project's")
    (tmp_path / "admin/base_site.html").write_text("own admin")

    done = run("-c", OWN_TEMPLATE, str(tmp_path), layer=layer, **MINIMUM[layer])

    assert done.stdout.strip() == "the project's own admin", done.stderr


def test_all_layers_share_what_they_do_not_change() -> None:
    shared = ("ROOT_URLCONF", "WSGI_APPLICATION", "USE_TZ", "STATIC_URL", "MEDIA_URL")

    for name in shared:
        assert len({str(loaded(layer)[name]) for layer in MINIMUM}) == 1, name


def test_static_files_in_a_bucket_are_allowed_from_their_folder_alone() -> None:
    """For what pages are made of: scripts, styles, pictures, fonts; no request to anywhere else."""
    address = "https://s3.example.com/mysite-static/static/"
    before, shown = (
        loaded("production", *changes)
        for changes in (
            (),
            (("AWS_STATIC_BUCKET_NAME", "mysite-static"), ("STATIC_URL", address)),
        )
    )
    policies = [one["CONTENT_SECURITY_POLICY"]["DIRECTIVES"] for one in (before, shown)]

    assert (before["STATIC_BUCKET"], before["STATIC_URL"]) == ({}, "/static/")
    assert (shown["STATIC_BUCKET"]["bucket_name"], shown["STATIC_URL"]) == (
        "mysite-static",
        address,
    )
    assert shown["STORAGES"] == before["STORAGES"]
    assert policies[1] == {
        **policies[0],
        "script-src": ["'self'", address],
        "style-src": ["'self'", address],
        "img-src": ["'self'", "data:", address],
        "font-src": [address],
    }


def test_middleware_stands_in_order() -> None:
    """Probes before everything; the outage's answer next to the view, after who asks is known."""
    for layer in MINIMUM:
        names = [name.rpartition(".")[2] for name in loaded(layer)["MIDDLEWARE"]]

        assert names[0] == "ProbeMiddleware"
        assert names[-1] == "DatabaseOutageMiddleware"
        assert names.index("AuthenticationMiddleware") > names.index("SessionMiddleware")


def test_check_deploy_is_clean_in_production() -> None:
    done = run(
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        layer="production",
        **REQUIRED,
    )

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("layer", MINIMUM)
def test_check_is_clean_in_every_layer(layer: str) -> None:
    done = run("manage.py", "check", "--fail-level", "WARNING", layer=layer, **MINIMUM[layer])

    assert done.returncode == 0, done.stderr


def test_production_refuses_debug() -> None:
    done = run("manage.py", "check", layer="production", **REQUIRED, DJANGO_DEBUG="true")

    assert done.returncode != 0
    assert "DJANGO_DEBUG: it is on" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("layer", ["dev", "production"])
@pytest.mark.parametrize("command", ["check", "migrate_with_lock", "runserver"])
def test_missing_secrets_are_one_message(layer: str, command: str) -> None:
    done = run("manage.py", command, layer=layer)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for name in REQUIRED:
        assert f"  {name}: " in done.stderr
    assert done.stderr.count("The environment is not right") == 1


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_the_sample_secret_is_refused_and_not_repeated(layer: str) -> None:
    done = run(
        *("manage.py", "check"),
        layer=layer,
        **{**REQUIRED, "DJANGO_SECRET_KEY": SAMPLE_SECRET_KEY},
    )

    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY: it is still the local layer's sample" in done.stderr
    assert SAMPLE_SECRET_KEY not in done.stderr


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_the_server_s_application_can_be_loaded(layer: str) -> None:
    done = run("-c", "import mysite.wsgi", layer=layer, **MINIMUM[layer])

    assert done.returncode == 0, done.stderr


def test_a_server_is_never_a_build() -> None:
    done = run("-c", "import mysite.wsgi", layer="production", DJANGO_BUILD="1")

    assert done.returncode != 0
    assert "ImproperlyConfigured: DJANGO_BUILD is set" in done.stderr


def test_a_build_step_needs_no_secret_and_has_no_database() -> None:
    done = run("manage.py", "findstatic", "ops/status.css", layer="production", DJANGO_BUILD="1")
    asked = run("manage.py", "showmigrations", layer="production", DJANGO_BUILD="1")

    assert done.returncode == 0, done.stderr
    assert asked.returncode != 0


@pytest.mark.parametrize("module", ["api.views.profile", "ops.middleware", "ops.health.checks"])
def test_a_module_that_cannot_be_imported_keeps_the_server_from_starting(module: str) -> None:
    """Rather than becoming the first visitor's error."""
    broken = f"import sys; sys.modules[{module!r}] = None; import mysite.wsgi"

    done = run("-c", broken)

    assert done.returncode != 0
    assert f"import of {module} halted" in done.stderr
