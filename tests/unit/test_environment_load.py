"""The environment as the settings get it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ops import environment
from ops.environment import loader
from ops.environment.contract import SAMPLE_SECRET_KEY, VARIABLES
from ops.environment.variable import ROOT, Kind, Scope

PRODUCTION = {"DJANGO_SETTINGS_MODULE": "mysite.settings.production"}
GOOD = {
    **PRODUCTION,
    "DJANGO_SECRET_KEY": "k3y-" + "abcdefghij" * 6,
    "DJANGO_ALLOWED_HOSTS": "www.example.com,example.com",
    "DATABASE_URL": "mysql://web:pa55word@db/site",
    "REDIS_URL": "redis://:pa55word@redis:6379",
}


def test_an_empty_environment_is_the_local_layer(tmp_path: Path) -> None:
    """A fresh clone."""
    env = environment.load({}, tmp_path)
    assert (env.layer, env.building) == ("local", False)
    assert env.str("DJANGO_SECRET_KEY") == SAMPLE_SECRET_KEY
    assert env.bool("DJANGO_DEBUG") is True


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_local_work_ignores_the_dotenv_of_a_shared_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    """Its hosts, database and secrets are that stack's."""
    (tmp_path / ".env").write_text(f"LAYER={layer}\nPROFILE=theirs\n")
    environ: dict[str, str] = {}
    loader.read_dotenv(environ, tmp_path)
    assert environ.get("PROFILE") == ("theirs" if layer == "local" else None)

    monkeypatch.setenv("DJANGO_READ_DOTENV", "true")
    for module, ignored in (("local", layer if layer != "local" else ""), (layer, "")):
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"mysite.settings.{module}")
        assert environment.ignored_layer(tmp_path) == ignored


def test_a_dotenv_that_names_no_layer_is_local_work_s(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROFILE=mine\n")
    environ: dict[str, str] = {}
    loader.read_dotenv(environ, tmp_path)

    assert environ["PROFILE"] == "mine"


def test_each_kind_has_its_own_accessor(tmp_path: Path) -> None:
    """Typed, so that a wrong one is seen at once."""
    env = environment.load(dict(GOOD), tmp_path)
    assert env.str("PROFILE") == "standalone"
    assert env.bool("DJANGO_DEBUG") is False
    assert env.int("WEB_CONCURRENCY") == 2
    assert env.list("DJANGO_ALLOWED_HOSTS") == ["www.example.com", "example.com"]
    assert env.list("DJANGO_CSRF_TRUSTED_ORIGINS") == []
    assert env.path("STATIC_ROOT") == ROOT / "var/static"
    assert environment.database_settings(env)["HOST"] == "db"


def test_every_django_variable_can_be_read(tmp_path: Path) -> None:
    """By the accessor of its kind, whether or not it is set."""
    env = environment.load({}, tmp_path)
    accessors = {
        Kind.BOOL: env.bool,
        Kind.INT: env.int,
        Kind.LIST: env.list,
        Kind.PATH: env.path,
        Kind.PORT: env.int,
    }
    values = {}
    for name, variable in VARIABLES.items():
        # A port without a default is the database engine's own: None, which is no number.
        if variable.scope is Scope.DJANGO and (variable.kind is not Kind.PORT or variable.default):
            values[name] = accessors.get(variable.kind, env.str)(name)
    assert values["DJANGO_DEBUG"] is True
    assert all(
        value is not None for name, value in values.items() if VARIABLES[name].default is not None
    )


def test_a_new_list_at_each_call(tmp_path: Path) -> None:
    """Django's test runner adds to ALLOWED_HOSTS."""
    env = environment.load({}, tmp_path)
    env.list("DJANGO_ALLOWED_HOSTS").append("x")
    assert "x" not in env.list("DJANGO_ALLOWED_HOSTS")


def test_settings_that_read_an_undeclared_name_or_another_type_are_refused(tmp_path: Path) -> None:
    """A stack variable is none of the application's; manage.py prints the message alone."""
    env = environment.load({"UNDECLARED": "1"}, tmp_path)
    for name in ("UNDECLARED", "STATS_PASSWORD"):
        with pytest.raises(ImproperlyConfigured, match=f"{name}, which is not declared. Declare"):
            env.str(name)
    with pytest.raises(ImproperlyConfigured, match="as str, and it is declared as true or false"):
        env.str("DJANGO_DEBUG")
    with pytest.raises(ImproperlyConfigured, match="as int, "):
        env.int("DJANGO_DEBUG")  # a bool is an int, but not this one


def test_no_secret_in_the_repr(tmp_path: Path) -> None:
    """It may come out in a traceback."""
    assert "pa55word" not in repr(environment.load(dict(GOOD), tmp_path))


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("mysite.settings.local", "local"),
        ("mysite.settings.dev", "dev"),
        ("mysite.settings.production", "production"),
        ("mysite.settings.test", "test"),
        ("mysite.settings.staging", "production"),
        ("settings", "production"),
        ("elsewhere.local", "local"),
    ],
)
def test_the_settings_module_tells_the_layer(module: str, layer: str) -> None:
    """One that is not known has to meet what production has to."""
    assert environment.layer_of(module) == layer


def test_all_faults_are_in_one_message(tmp_path: Path) -> None:
    """With their hints and without a value."""
    (tmp_path / ".env").write_text("DATABSE_URL=hidden\nhidden line\n")
    environ = {**PRODUCTION, "DJANGO_DEBUG": "on", "WEB_CONCURRENCY": "many"}
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.load(environ, tmp_path)
    message = str(caught.value)
    for part in (
        "production layer: 8 faults",
        ".env line 2: ",
        "DJANGO_SECRET_KEY: ",
        "DJANGO_ALLOWED_HOSTS: ",
        "DJANGO_DEBUG: ",
        "WEB_CONCURRENCY: 'many' is not a whole number",
        "Use a whole number from 1 to 64.",
        "DATABASE_URL: no database is named",
        "REDIS_URL: no Redis is named",
        "DATABSE_URL: ",
        "Did you mean DATABASE_URL?",
    ):
        assert part in message
    assert "hidden" not in message
    assert len(message.splitlines()) == 1 + 2 * 8


def test_the_process_wins_over_dotenv_which_wins_over_the_default(tmp_path: Path) -> None:
    """The order of the three places; an empty value of the process is a value there."""
    (tmp_path / ".env").write_text("PROFILE=from-file\nRELEASE=from-file\nDJANGO_LOG_LEVEL=ERROR\n")
    environ = {"PROFILE": "from-process", "DJANGO_LOG_LEVEL": ""}
    env = environment.load(environ, tmp_path)
    assert env.str("PROFILE") == "from-process"
    assert env.str("RELEASE") == "from-file"
    assert env.str("DJANGO_LOG_LEVEL") == "INFO"
    assert env.int("WEB_CONCURRENCY") == 2
    assert environ["RELEASE"] == "from-file"


def test_dotenv_names_the_settings_module(tmp_path: Path) -> None:
    """`manage.py` and the WSGI module read it before they choose their default."""
    (tmp_path / ".env").write_text("DJANGO_SETTINGS_MODULE=mysite.settings.dev\n")
    environ: dict[str, str] = {}
    environment.read_dotenv(environ, tmp_path)
    assert environ["DJANGO_SETTINGS_MODULE"] == "mysite.settings.dev"


def test_the_stacks_variables_stay_out_of_the_application(tmp_path: Path) -> None:
    """Also when they come from a file; what other programs read goes in."""
    (tmp_path / ".env").write_text(
        "LAYER=local\nSTATS_PASSWORD=hidden\nSTATS_PASSWORD_FILE=/x\nHTTP_PORT=1\n"
        "AWS_REGION=x\nDRAIN_FILE=/d\n"
    )
    environ: dict[str, str] = {}
    environment.read_dotenv(environ, tmp_path)
    assert environ == {"AWS_REGION": "x", "DRAIN_FILE": "/d"}


@pytest.mark.parametrize("layer", ["local", "production"])
def test_local_work_has_no_servers_of_compose(tmp_path: Path, layer: str) -> None:
    """Nor would its status page reach them."""
    (tmp_path / ".env").write_text("SERVER_COUNT=4\n")
    environ = {"DJANGO_SETTINGS_MODULE": f"mysite.settings.{layer}"}
    environment.read_dotenv(environ, tmp_path)
    assert ("SERVER_COUNT" in environ) == (layer == "production")


def test_the_test_layer_never_reads_dotenv(tmp_path: Path) -> None:
    """A developer's .env must not change what a unit test says, nor a fault in it."""
    (tmp_path / ".env").write_text("PROFILE=from-file\nnot a line\n")
    environ = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test"}
    env = environment.load(environ, tmp_path)
    assert env.layer == "test"
    assert env.str("PROFILE") == "standalone"
    assert env.str("DJANGO_SECRET_KEY") == SAMPLE_SECRET_KEY
    assert "PROFILE" not in environ


def test_the_test_layer_forgets_dotenv_that_was_read_before_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`manage.py test --settings ...` names it after `.env` was read."""
    (tmp_path / ".env").write_text("PROFILE=from-file\nRELEASE=from-file\nTEST_DB_NAME=file\n")
    for name in ("PROFILE", "RELEASE", "TEST_DB_NAME", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TEST_DB_NAME", "from-process")
    environment.read_dotenv(root=tmp_path)
    assert os.environ["PROFILE"] == "from-file"
    monkeypatch.setenv("RELEASE", "changed-since")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings.test")
    env = environment.load(root=tmp_path)
    assert env.str("PROFILE") == "standalone"
    assert env.str("RELEASE") == "changed-since"
    assert env.str("TEST_DB_NAME") == "from-process"
    assert not loader._from_dotenv


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """The database's URL too."""
    (tmp_path / "key").write_text(GOOD["DJANGO_SECRET_KEY"] + "\n")
    (tmp_path / "url").write_text("postgres://u:from-file@h/n\n")
    (tmp_path / "redis").write_text("redis://:from-file@h\n")
    environ = {
        **PRODUCTION,
        "DJANGO_ALLOWED_HOSTS": "example.com",
        "DJANGO_SECRET_KEY_FILE": str(tmp_path / "key"),
        "DATABASE_URL_FILE": str(tmp_path / "url"),
        "REDIS_URL_FILE": str(tmp_path / "redis"),
    }
    env = environment.load(environ, tmp_path)
    assert env.str("DJANGO_SECRET_KEY") == GOOD["DJANGO_SECRET_KEY"]
    assert environment.database_settings(env)["PASSWORD"] == "from-file"


def test_a_build_has_throw_away_secrets_and_no_database(tmp_path: Path) -> None:
    """Other ones each time, so that nothing can come to rely on them."""
    builds = [environment.load({**PRODUCTION, "DJANGO_BUILD": "1"}, tmp_path) for _ in range(2)]
    assert all(env.building for env in builds)
    keys = {env.str("DJANGO_SECRET_KEY") for env in builds}
    assert len(keys) == 2
    assert min(map(len, keys)) >= 50
    assert environment.database_settings(builds[0]) == {"ENGINE": "django.db.backends.dummy"}
    assert environment.load(dict(GOOD), tmp_path).building is False


def test_the_package_imports_without_django() -> None:
    """So that `./manage.py env check` answers at once, and before anything is installed."""
    code = (
        "import sys, ops.environment.cli; "
        "print({name.partition('.')[0] for name in sys.modules} & {'django', 'environ', 'celery'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_container_does_not_read_dotenv_a_second_time(tmp_path: Path) -> None:
    """Its environment came from docker compose, and the host's `.env` may be unreadable there."""
    (tmp_path / ".env").write_text("PROFILE=from-the-file\n")
    environ = {"DJANGO_READ_DOTENV": "false"}

    assert loader.load(environ, tmp_path).str("PROFILE") == "standalone"
    assert loader.load({}, tmp_path).str("PROFILE") == "from-the-file"
