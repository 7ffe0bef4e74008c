"""The environment that the settings read."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_empty_environment_loads_the_local_layer(tmp_path: Path) -> None:
    env = environment.load({}, tmp_path)
    assert (env.layer, env.building) == ("local", False)
    assert env.str("DJANGO_SECRET_KEY") == SAMPLE_SECRET_KEY
    assert env.bool("DJANGO_DEBUG") is True


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_local_settings_ignore_a_dotenv_of_another_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    """Its hosts, database and secrets belong to another stack."""
    (tmp_path / ".env").write_text(f"LAYER={layer}\nPROFILE=theirs\n")
    environ: dict[str, str] = {}
    loader.read_dotenv(environ, tmp_path)
    assert environ.get("PROFILE") == ("theirs" if layer == "local" else None)

    monkeypatch.setenv("DJANGO_READ_DOTENV", "true")
    for module, ignored in (("local", layer if layer != "local" else ""), (layer, "")):
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"mysite.settings.{module}")
        assert environment.ignored_layer(tmp_path) == ignored


def test_local_settings_read_a_dotenv_without_a_layer(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROFILE=mine\n")
    environ: dict[str, str] = {}
    loader.read_dotenv(environ, tmp_path)

    assert environ["PROFILE"] == "mine"


def test_each_kind_of_variable_has_a_typed_accessor(tmp_path: Path) -> None:
    env = environment.load(dict(GOOD), tmp_path)
    assert env.str("PROFILE") == "standalone"
    assert env.bool("DJANGO_DEBUG") is False
    assert env.int("WEB_CONCURRENCY") == 2
    assert env.list("DJANGO_ALLOWED_HOSTS") == ["www.example.com", "example.com"]
    assert env.list("DJANGO_CSRF_TRUSTED_ORIGINS") == []
    assert env.path("STATIC_ROOT") == ROOT / "var/static"
    assert environment.database_settings(env)["HOST"] == "db"


def test_every_django_variable_can_be_read_by_its_accessor(tmp_path: Path) -> None:
    """Whether or not it is set."""
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
        # A port without a default is None: the engine has its own.
        if variable.scope is Scope.DJANGO and (variable.kind is not Kind.PORT or variable.default):
            values[name] = accessors.get(variable.kind, env.str)(name)
    assert values["DJANGO_DEBUG"] is True
    assert all(
        value is not None for name, value in values.items() if VARIABLES[name].default is not None
    )


def test_list_accessor_returns_a_new_list(tmp_path: Path) -> None:
    """Django's test runner adds to ALLOWED_HOSTS."""
    env = environment.load({}, tmp_path)
    env.list("DJANGO_ALLOWED_HOSTS").append("x")
    assert "x" not in env.list("DJANGO_ALLOWED_HOSTS")


def test_settings_cannot_read_an_undeclared_variable_or_another_type(tmp_path: Path) -> None:
    """Stack variables are undeclared too; manage.py prints the message without a traceback."""
    env = environment.load({"UNDECLARED": "1"}, tmp_path)
    for name in ("UNDECLARED", "STATS_PASSWORD"):
        with pytest.raises(
            ImproperlyConfigured, match=f"{name}, which is not declared. D"
        ) as stack:
            env.str(name)
        assert str(stack.value).startswith("tests/unit/test_environment_load.py line ")
    with pytest.raises(ImproperlyConfigured, match="Did you mean RUN_PORT"):
        env.int("RUN_PROT")
    with pytest.raises(ImproperlyConfigured, match="as str, and it is declared as true or false"):
        env.str("DJANGO_DEBUG")
    with pytest.raises(ImproperlyConfigured, match="as int, "):
        env.int("DJANGO_DEBUG")  # a bool is an int, but not this one


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda env: env.int("RUN_PORT", default=1), 'Write env.int("RUN_PORT").'),
        (lambda env: env.bool("RUN_PORT", True), 'Write env.int("RUN_PORT").'),
        (lambda env: env.list("DJANGO_ALLOWED_HOSTS", cast=int), "takes a name and nothing else"),
        (
            lambda env: env.str("SHOP_KEY", default="hidden"),
            'Write env.str("SHOP_KEY"); its default',
        ),
        (lambda env: env.str(default="hidden"), 'Write env.str("NAME")'),
        (lambda env: env("SHOP_KEY", default="hidden"), 'Write env.str("SHOP_KEY"); its default'),
        (lambda env: env("RUN_PORT"), 'read by its methods. Write env.int("RUN_PORT").'),
        (lambda env: env["RUN_PORT"], 'Write env.int("RUN_PORT").'),
        (lambda env: env.integer("RUN_PORT"), "env has no 'integer'. Write env.int(NAME)."),
        (lambda env: env.float("X"), "Write float(env.str(NAME))."),
        (lambda env: env.db(), "environment.database_settings(env)"),
        (lambda env: env.email_url(), "the stack's settings read EMAIL_URL"),
        (lambda env: env.read_env(), "the stack reads .env"),
        (lambda env: env.lst("X"), "Did you mean list?"),
        (lambda env: env.decimal("X"), "It has str, bool, int, list, path."),
    ],
)
def test_calls_of_django_environ_are_answered_with_the_right_call(
    tmp_path: Path, call: Callable[[Any], object], says: str
) -> None:
    env = environment.load({}, tmp_path)
    with pytest.raises(ImproperlyConfigured) as caught:
        call(env)

    message = str(caught.value)
    assert message.startswith("tests/unit/test_environment_load.py line ") and says in message
    assert "hidden" not in message


def test_environment_can_be_copied_and_asked_for_protocols(tmp_path: Path) -> None:
    env = environment.load({}, tmp_path)

    assert copy.deepcopy(env) == pickle.loads(pickle.dumps(env)) == env
    assert not hasattr(env, "__html__")


def test_repr_of_the_environment_has_no_secret(tmp_path: Path) -> None:
    """A traceback may show it."""
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
def test_layer_is_derived_from_the_settings_module(module: str, layer: str) -> None:
    """An unknown module must meet the requirements of production."""
    assert environment.layer_of(module) == layer


def test_load_raises_all_faults_in_one_message_without_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABSE_URL=hidden\nhidden line\n")
    environ = {**PRODUCTION, "DJANGO_DEBUG": "on", "WEB_CONCURRENCY": "many"}
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.load(environ, tmp_path)
    message = str(caught.value)
    for part in (
        "production layer: 7 faults",
        ".env line 2: ",
        "DJANGO_SECRET_KEY: ",
        "DJANGO_ALLOWED_HOSTS: ",
        "DJANGO_DEBUG: ",
        "WEB_CONCURRENCY: 'many' is not a whole number",
        "Use a whole number from 1 to 64.",
        "REDIS_URL: no Redis is named",
        "DATABSE_URL: ",
        "Did you mean DATABASE_URL?",
    ):
        assert part in message
    assert "hidden" not in message
    assert len(message.splitlines()) == 1 + 2 * 7


def test_process_overrides_dotenv_and_dotenv_overrides_the_default(tmp_path: Path) -> None:
    """An empty value in the process counts as a value."""
    (tmp_path / ".env").write_text("PROFILE=from-file\nRELEASE=from-file\nDJANGO_LOG_LEVEL=ERROR\n")
    environ = {"PROFILE": "from-process", "DJANGO_LOG_LEVEL": ""}
    env = environment.load(environ, tmp_path)
    assert env.str("PROFILE") == "from-process"
    assert env.str("RELEASE") == "from-file"
    assert env.str("DJANGO_LOG_LEVEL") == "INFO"
    assert env.int("WEB_CONCURRENCY") == 2
    assert environ["RELEASE"] == "from-file"


def test_dotenv_can_set_the_settings_module(tmp_path: Path) -> None:
    """`manage.py` and the WSGI module read it before they choose their default."""
    (tmp_path / ".env").write_text("DJANGO_SETTINGS_MODULE=mysite.settings.dev\n")
    environ: dict[str, str] = {}
    environment.read_dotenv(environ, tmp_path)
    assert environ["DJANGO_SETTINGS_MODULE"] == "mysite.settings.dev"


def test_dotenv_variables_of_the_stack_do_not_reach_the_application(tmp_path: Path) -> None:
    """Variables that other programs read do."""
    (tmp_path / ".env").write_text(
        "LAYER=local\nSTATS_PASSWORD=hidden\nSTATS_PASSWORD_FILE=/x\nHTTP_PORT=1\n"
        "AWS_REGION=x\nDRAIN_FILE=/d\n"
    )
    environ: dict[str, str] = {}
    environment.read_dotenv(environ, tmp_path)
    assert environ == {"AWS_REGION": "x", "DRAIN_FILE": "/d"}


@pytest.mark.parametrize("layer", ["local", "production"])
def test_local_settings_ignore_server_count_of_dotenv(tmp_path: Path, layer: str) -> None:
    """Its status page could not reach them."""
    (tmp_path / ".env").write_text("SERVER_COUNT=4\n")
    environ = {"DJANGO_SETTINGS_MODULE": f"mysite.settings.{layer}"}
    environment.read_dotenv(environ, tmp_path)
    assert ("SERVER_COUNT" in environ) == (layer == "production")


def test_test_settings_ignore_dotenv(tmp_path: Path) -> None:
    """Neither values nor faults in a developer's .env may change a unit test."""
    (tmp_path / ".env").write_text("PROFILE=from-file\nnot a line\n")
    environ = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test"}
    env = environment.load(environ, tmp_path)
    assert env.layer == "test"
    assert env.str("PROFILE") == "standalone"
    assert env.str("DJANGO_SECRET_KEY") == SAMPLE_SECRET_KEY
    assert "PROFILE" not in environ


def test_test_settings_undo_a_dotenv_that_was_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`manage.py test --settings ...` selects the layer after `.env` was read."""
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


def test_secrets_are_loaded_from_files(tmp_path: Path) -> None:
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


def test_build_has_random_secrets_and_no_database(tmp_path: Path) -> None:
    """Different each time, so that nothing relies on them."""
    builds = [environment.load({**PRODUCTION, "DJANGO_BUILD": "1"}, tmp_path) for _ in range(2)]
    assert all(env.building for env in builds)
    keys = {env.str("DJANGO_SECRET_KEY") for env in builds}
    assert len(keys) == 2
    assert min(map(len, keys)) >= 50
    assert environment.database_settings(builds[0]) == {"ENGINE": "django.db.backends.dummy"}
    assert environment.load(dict(GOOD), tmp_path).building is False


def test_environment_package_imports_without_django() -> None:
    """So `./manage.py env check` is fast, and runs before anything is installed."""
    code = (
        "import sys, ops.environment.cli; "
        "print({name.partition('.')[0] for name in sys.modules} & {'django', 'environ', 'celery'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_django_read_dotenv_false_keeps_dotenv_unread(tmp_path: Path) -> None:
    """In a container, compose has set the environment, and `.env` may be unreadable."""
    (tmp_path / ".env").write_text("PROFILE=from-the-file\n")
    environ = {"DJANGO_READ_DOTENV": "false"}

    assert loader.load(environ, tmp_path).str("PROFILE") == "standalone"
    assert loader.load({}, tmp_path).str("PROFILE") == "from-the-file"
