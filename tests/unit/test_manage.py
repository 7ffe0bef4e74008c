"""./manage.py finds its packages, and local settings ignore the .env of another layer."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from ops import environment
from ops.environment import render
from tests.tree import ROOT

COMMANDS = [("createsuperuser",), ("makemigrations", "shop", "--dry-run"), ("shell", "-c", "1")]
# The Python of .venv without its packages.
BARE = (str(Path(sys.executable).resolve()), "-S")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone without installed packages."""
    shutil.copy(ROOT / "manage.py", tmp_path)
    for package in ("mysite", "ops"):
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with a Python without packages."""
    return subprocess.run(
        [*BARE, "manage.py", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_manage_py_restarts_with_the_python_of_venv(clone: Path, command: tuple[str, ...]) -> None:
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "in .venv: $*"\n')
    python.chmod(0o755)

    done = manage(clone, *command)

    assert done.stdout == f"in .venv: manage.py {' '.join(command)}\n"
    assert done.returncode == 0


@pytest.mark.parametrize("has_venv", [True, False])
def test_manage_py_without_django_names_the_next_step(clone: Path, has_venv: bool) -> None:
    if has_venv:
        venv.create(clone / ".venv", symlinks=True)

    done = manage(clone, "migrate")

    assert done.returncode == 1
    assert "`make setup`" in done.stderr and "`make run`" in done.stderr
    assert "Traceback" not in done.stderr and "No module" not in done.stderr
    assert manage(clone, "env", "get", "RUN_PORT").stdout == "8000\n"


def loaded(folder: Path, text: str, **environ: str) -> environment.Environment:
    """Return the environment that settings read from this .env."""
    (folder / ".env").write_text(text)
    return environment.load(dict(environ), folder)


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_local_settings_do_not_read_the_dotenv_of_another_layer(tmp_path: Path, layer: str) -> None:
    text, _ = render.fresh(layer, ipv6=False)
    text += "DJANGO_ALLOWED_HOSTS=www.example.com\nDATABASE_URL=mysql://u:p@h/n\nODD LINE\n"

    result = loaded(tmp_path, text)

    settings = environment.database_settings(result)
    assert settings["ENGINE"] == "django.db.backends.sqlite3"
    assert result.list("DJANGO_ALLOWED_HOSTS") == ["localhost", "127.0.0.1", "[::1]"]
    assert environment.redis_url(result, environment.CACHE) == ""
    # A variable of the process counts.
    assert loaded(tmp_path, text, RUN_PORT="8123").int("RUN_PORT") == 8123


@pytest.mark.parametrize(
    "lines",
    [
        "DB_ENGINE=mysql\nDB_NAME=n\nDB_USER=u\nDB_PASSWORD=p\nDB_HOST=db\n",
        "DATABASE_URL=mysql://u:p@db:3306/n\n",
        "DATABASE_URL=postgres://u:p@db/n\n",
        "REDIS_HOST=redis\nREDIS_PASSWORD=p\n",
        "REDIS_URL=redis://redis:6379/0\n",
        "BROKER=rabbitmq\nBROKER_HOST=broker\nBROKER_PASSWORD=p\n",
        "CELERY_BROKER_URL=amqp://u:p@broker//\n",
    ],
)
def test_local_settings_do_not_use_servers_of_compose(tmp_path: Path, lines: str) -> None:
    result = loaded(tmp_path, f"LAYER=local\n{lines}")

    assert environment.database_settings(result)["ENGINE"] == "django.db.backends.sqlite3"
    assert environment.redis_url(result, environment.CACHE) == ""
    assert environment.broker_url(result) == ""


def test_local_settings_use_external_servers_of_dotenv(tmp_path: Path) -> None:
    lines = "DATABASE_URL=mysql://u:p@db.example.com/n\nREDIS_URL=redis://redis.example.com/0\n"

    result = loaded(tmp_path, lines)

    assert environment.database_settings(result)["HOST"] == "db.example.com"
    assert environment.redis_url(result, environment.CACHE) == "redis://redis.example.com/1"


def test_production_settings_read_the_dotenv_of_production(tmp_path: Path) -> None:
    text, _ = render.fresh("production", ipv6=False)
    module = {"DJANGO_SETTINGS_MODULE": "mysite.settings.production"}

    result = loaded(tmp_path, f"{text}DJANGO_ALLOWED_HOSTS=www.example.com\n", **module)

    assert environment.database_settings(result)["HOST"] == "db"
