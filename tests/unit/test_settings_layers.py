"""The settings of each layer, loaded in a separate process as by a server."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ops.environment.contract import SAMPLE_SECRET_KEY
from tests.team_values import required_values
from tests.tree import ROOT
from tests.unit.forks import run_forked

SECRET_KEY = "k3y-" + "abcdefghij" * 6
REQUIRED = {
    "DJANGO_SECRET_KEY": SECRET_KEY,
    "DJANGO_ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "sqlite:////nonexistent/db.sqlite3",
    "REDIS_URL": "redis://:pa55word@redis:6379",
}
MINIMUM = {"local": {}, "dev": REQUIRED, "production": REQUIRED, "test": {}}

SHOW = """
import json
from django.conf import settings

shown = {name: getattr(settings, name, None) for name in dir(settings) if name.isupper()}
print(json.dumps(shown, default=str))
"""

# Starts as a server does, with a template folder of the project.
START = """
import json, sys
from mysite.settings import base

folder, *paths = sys.argv[1:]
base.TEMPLATES[0]["DIRS"] = [folder]

import mysite.wsgi
from django.conf import settings
from django.core.management import call_command
from django.template import engines
from django.template.loader import render_to_string
from django.test import Client

call_command("check", deploy="production" in settings.SETTINGS_MODULE, fail_level="WARNING")
client = Client(headers={"Host": "www.example.com"})
loaders = [type(loader).__module__ for loader in engines["django"].engine.template_loaders]
started = {
    "templates": [render_to_string("own.html"), render_to_string("admin/base_site.html")],
    "cached": "django.template.loaders.cached" in loaders,
    "answers": {path: client.get(path).status_code for path in paths},
}
print(json.dumps(started))
"""
HEALTH = ("/livez", "/readyz", "/healthz")
OTHERS = ("/", "/profile/", "/healthz/", "/healthzz", "/x/healthz", "/api/orders/")

# In one process, so that each layer starts once for all tests.
pytestmark = pytest.mark.xdist_group("layers")


def run(
    *command: str, layer: str = "local", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a Python command in a layer, with only PATH of this environment."""
    return run_forked(
        *command,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_READ_DOTENV": "false",
            "DJANGO_SETTINGS_MODULE": f"mysite.settings.{layer}",
            **(required_values() if layer != "test" else {}),
            **environment,
        },
    )


def printed(*command: str, layer: str, **environment: str) -> dict[str, Any]:
    """Run a command that must succeed, and return its last line."""
    done = run(*command, layer=layer, **environment)
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return shown


@cache
def loaded(layer: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """Return the settings of a layer whose required variables are set."""
    return printed("-c", SHOW, layer=layer, **{**MINIMUM[layer], **dict(changes)})


@cache
def started(layer: str) -> dict[str, Any]:
    """Start a layer, run its checks, and return rendered templates and responses."""
    with TemporaryDirectory() as folder:
        Path(folder, "admin").mkdir()
        Path(folder, "own.html").write_text("the project's")
        Path(folder, "admin/base_site.html").write_text("own admin")
        # Other layers would read the database of `make run`.
        paths = HEALTH + OTHERS if layer == "production" else ()
        return printed("-c", START, folder, *paths, layer=layer, **MINIMUM[layer])


@pytest.mark.parametrize(
    ("layer", "debug"), [("local", True), ("dev", True), ("production", False), ("test", False)]
)
def test_debug_is_on_by_default_in_local_and_dev_only(layer: str, debug: bool) -> None:
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
def test_debug_can_be_turned_off_but_not_on_for_tests(layer: str, word: str, debug: bool) -> None:
    assert loaded(layer, ("DJANGO_DEBUG", word))["DEBUG"] is debug


@pytest.mark.parametrize(
    ("layer", "hashed"), [("local", False), ("dev", True), ("production", True), ("test", False)]
)
def test_static_filenames_are_hashed_in_dev_and_production(layer: str, hashed: bool) -> None:
    backend = loaded(layer)["STORAGES"]["staticfiles"]["BACKEND"]

    assert backend.endswith(".ManifestStaticFilesStorage") is hashed
    assert loaded(layer)["STORAGES"]["default"]["BACKEND"].endswith(".DurableFileStorage")


@pytest.mark.parametrize(
    ("layer", "printed"), [("local", True), ("dev", True), ("production", False), ("test", False)]
)
def test_worker_prints_mails_in_local_and_dev(layer: str, printed: bool) -> None:
    shown = loaded(layer)

    assert shown["EMAIL_BACKEND"] == "ops.mail.QueuedBackend"
    assert shown["MAIL_BACKEND"].endswith(".console.EmailBackend") is printed
    assert shown["SHOW_MAILS"] is (layer == "local")


@pytest.mark.parametrize("layer", MINIMUM)
def test_former_secret_keys_are_accepted_in_every_layer(layer: str) -> None:
    shown = loaded(layer, ("DJANGO_SECRET_KEY_FALLBACKS", "latest,former"))

    assert shown["SECRET_KEY_FALLBACKS"] == ["latest", "former"]


@pytest.mark.parametrize("layer", MINIMUM)
def test_email_url_names_the_mail_server_in_every_layer(layer: str) -> None:
    shown = loaded(
        layer,
        ("EMAIL_URL", "smtp+ssl://me%40example.com:pa%2Fss+w@smtp.example.com"),
        ("DEFAULT_FROM_EMAIL", "Shop <shop@example.com>"),
        ("ADMINS", "a@example.com, b@example.com"),
    )

    assert (shown["EMAIL_HOST"], shown["EMAIL_PORT"]) == ("smtp.example.com", 465)
    assert (shown["EMAIL_HOST_USER"], shown["EMAIL_HOST_PASSWORD"]) == ("me@example.com", "pa/ss+w")
    assert (shown["EMAIL_USE_TLS"], shown["EMAIL_USE_SSL"]) == (False, True)
    assert (shown["EMAIL_TIMEOUT"], shown["SHOW_MAILS"]) == (10, False)
    assert shown["SERVER_EMAIL"] == shown["DEFAULT_FROM_EMAIL"] == "Shop <shop@example.com>"
    assert [address for _, address in shown["ADMINS"]] == ["a@example.com", "b@example.com"]


@pytest.mark.parametrize("layer", MINIMUM)
def test_debug_toolbar_is_in_the_local_layer_only(layer: str) -> None:
    """Although it is installed for every layer of this test."""
    installed = "debug_toolbar" in loaded(layer)["INSTALLED_APPS"]
    used = any("debug_toolbar" in name for name in loaded(layer)["MIDDLEWARE"])

    assert (installed, used) == ((layer == "local"),) * 2


@pytest.mark.parametrize("layer", MINIMUM)
def test_templates_are_cached_except_in_the_local_layer(layer: str) -> None:
    assert started(layer)["cached"] is (layer != "local")


def test_local_layer_needs_no_variables() -> None:
    shown = loaded("local")

    database = shown["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert Path(database["NAME"]) == ROOT / "var" / "db.sqlite3"
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
    assert shown["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]


def test_production_requires_https() -> None:
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
def test_other_layers_do_not_require_https(layer: str) -> None:
    shown = loaded(layer)

    assert shown["SECURE_SSL_REDIRECT"] is False
    assert shown["SECURE_HSTS_SECONDS"] == 0


def test_production_answers_only_health_paths_by_http() -> None:
    """With default settings; /healthz is 503 without a database."""
    assert started("production")["answers"] == {
        **dict.fromkeys(HEALTH, 200),
        "/healthz": 503,
        **dict.fromkeys(OTHERS, 301),
    }


def test_every_layer_trusts_x_forwarded_proto() -> None:
    for layer in MINIMUM:
        shown = loaded(layer)
        assert shown["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"], layer


def test_https_redirect_and_hsts_seconds_can_be_set() -> None:
    shown = loaded(
        "production", ("DJANGO_SECURE_SSL_REDIRECT", "false"), ("DJANGO_HSTS_SECONDS", "31536000")
    )

    assert (shown["SECURE_SSL_REDIRECT"], shown["SECURE_HSTS_SECONDS"]) == (False, 31536000)


def test_hsts_subdomains_and_preload_are_off_by_default() -> None:
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


@pytest.mark.parametrize("layer", MINIMUM)
def test_project_templates_precede_those_of_apps(layer: str) -> None:
    assert started(layer)["templates"] == ["the project's", "own admin"]


def test_all_layers_share_the_base_settings() -> None:
    shared = ("ROOT_URLCONF", "WSGI_APPLICATION", "USE_TZ", "STATIC_URL", "MEDIA_URL")

    for name in shared:
        assert len({str(loaded(layer)[name]) for layer in MINIMUM}) == 1, name


def test_csp_allows_static_files_only_from_the_folder_of_the_bucket() -> None:
    """For scripts, styles, images and fonts; not for requests."""
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
        "font-src": ["'self'", address],
    }


def test_middleware_order_in_every_layer() -> None:
    """Probes first; the database outage last, after authentication."""
    for layer in MINIMUM:
        names = [name.rpartition(".")[2] for name in loaded(layer)["MIDDLEWARE"]]

        assert names[0] == "ProbeMiddleware"
        assert names[-1] == "DatabaseOutageMiddleware"
        assert names.index("AuthenticationMiddleware") > names.index("SessionMiddleware")


@pytest.mark.parametrize("layer", MINIMUM)
def test_each_layer_starts_without_check_warnings(layer: str) -> None:
    """In production with `check --deploy`."""
    assert started(layer)


def test_celery_uses_the_time_zone_of_the_site() -> None:
    """Also in CELERY_BEAT_SCHEDULE. UTC, the default of both, would not show a difference."""
    show = "from mysite.celery import app; print(app.now().utcoffset())"

    done = run("-c", show, layer="test", DJANGO_TIME_ZONE="Asia/Tokyo")

    assert done.stdout == "9:00:00\n", done.stderr


def test_production_refuses_debug() -> None:
    done = run("manage.py", "check", layer="production", **REQUIRED, DJANGO_DEBUG="true")

    assert done.returncode != 0
    assert "DJANGO_DEBUG: it is on" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("layer", ["dev", "production"])
@pytest.mark.parametrize("command", ["check", "migrate_with_lock", "runserver"])
def test_missing_secrets_are_reported_in_one_message(layer: str, command: str) -> None:
    done = run("manage.py", command, layer=layer)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for name in REQUIRED:
        assert f"  {name}: " in done.stderr
    assert done.stderr.count("The environment is not valid") == 1


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_sample_secret_key_is_refused_and_not_shown(layer: str) -> None:
    done = run(
        *("manage.py", "check"),
        layer=layer,
        **{**REQUIRED, "DJANGO_SECRET_KEY": SAMPLE_SECRET_KEY},
    )

    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY: it is the local layer's public sample" in done.stderr
    assert SAMPLE_SECRET_KEY not in done.stderr


BUILD = """
import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

django.setup()
call_command("findstatic", "ops/status.css")
try:
    call_command("showmigrations")
except ImproperlyConfigured as fault:
    print(fault)
import mysite.wsgi
"""


def test_django_build_needs_no_secret_has_no_database_and_serves_no_request() -> None:
    done = run("-c", BUILD, layer="production", DJANGO_BUILD="1")

    assert done.stdout.startswith("Found 'ops/status.css' here:"), done.stderr
    assert "settings.DATABASES is improperly configured" in done.stdout
    assert done.returncode != 0
    assert "ImproperlyConfigured: DJANGO_BUILD is set" in done.stderr


BROKEN = """
import os, sys
import celery, django.contrib.admin.options, django.core.wsgi, django.test, mysite.settings.local

for module in sys.argv[1:]:
    if not os.fork():
        assert module not in sys.modules
        sys.modules[module] = None
        import mysite.wsgi
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_server_does_not_start_when_a_module_cannot_be_imported() -> None:
    """Otherwise the first visitor would get the error."""
    modules = ("api.views.profile", "ops.middleware", "ops.health.checks")

    done = run("-c", BROKEN, *modules)

    assert done.stdout.split() == ["1"] * len(modules), done.stderr
    for module in modules:
        assert f"import of {module} halted" in done.stderr
