"""The dev layer from an empty database: concurrent migrations, then the site.

Its secrets are in files that only their owner can read.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ops.environment.contract import VARIABLES
from tests.stack.compose import Stack, contains_secret, docker, secret_environment

# Relative to the root of the project.
FOLDER = "var/secrets"
# Neither the user of the tests nor the user of a container.
OWNER = 12345


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Return the secrets by variable name."""
    own = {name: text for name, text in secret_environment().items() if VARIABLES[name].secret}
    return {**own, "DJANGO_SUPERUSER_PASSWORD": f"Super {own['DB_PASSWORD']}"}


@pytest.fixture(scope="module")
def dev(tree: Path, secrets: dict[str, str]) -> Iterator[Stack]:
    """Prepare the dev layer, and start only its empty database."""
    folder = tree / FOLDER
    folder.mkdir(mode=0o700)
    for name, text in secrets.items():
        (folder / name).write_text(f"{text}\n")
        (folder / name).chmod(0o600)
        if os.getuid() == 0:
            os.chown(folder / name, OWNER, OWNER)
    stack = Stack(
        tree,
        "dev",
        DRAIN_SECONDS="0",
        DJANGO_SUPERUSER_USERNAME="first",
        **{f"{name}_FILE": f"{FOLDER}/{name}" for name in secrets},
        DJANGO_ALLOWED_HOSTS="localhost,127.0.0.1",
    )
    stack.down(volumes=True)
    try:
        stack.compose("build", "--quiet", "env-check")
        stack.compose("up", "--detach", "--wait", "db")
        yield stack
    finally:
        stack.down(volumes=True)


def migrate(stack: Stack) -> str:
    """Run `migrate`, and return its output."""
    return stack.compose("run", "--rm", "--no-deps", "migrate").stdout


def test_only_one_of_concurrent_migrations_applies_them(dev: Stack) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: migrate(dev), range(3)))

    assert sum("Applying ops.0001" in run for run in runs) == 1
    assert sum("No migrations to apply" in run for run in runs) == 2
    assert sum("another process holds the lock" in run for run in runs) >= 1


def test_dev_layer_runs_with_debug(dev: Stack) -> None:
    dev.up()

    profile = dev.get("/profile/").json()
    assert (profile["settings"], profile["debug"]) == ("dev", True)


READERS = {
    "server1": {"DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD"},
    "worker": {"DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD"},
    "db": {"DB_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "haproxy": {"STATS_PASSWORD"},
}


def test_secret_files_are_mounted_only_into_services_that_need_them(
    dev: Stack, secrets: dict[str, str]
) -> None:
    for service, names in READERS.items():
        mounted = dev.run_in(service, "sh", "-c", "ls /run/secrets; cat /run/secrets/*")
        assert {name for name in secrets if name in mounted.split()} == names, service
        assert {name for name, text in secrets.items() if text in mounted} == names, service
    ids = dev.output("ps", "--all", "--quiet").split()
    described = json.dumps(json.loads(docker("inspect", *ids)))
    assert not [name for name, text in secrets.items() if contains_secret(described, text)]

    stats = f"http://127.0.0.1:{dev.stats_port}/stats"
    answers = [
        requests.get(stats, auth=("admin", password), timeout=10).status_code
        for password in (secrets["STATS_PASSWORD"], "local-sample-password")
    ]
    assert answers == [200, 401]
    token = {"username": "first", "password": secrets["DJANGO_SUPERUSER_PASSWORD"]}
    assert dev.post("/api/token/", json=token).status_code == 200
    assert dev.get("/healthz").status_code == 200


def test_env_check_names_a_wrong_secret_file(dev: Stack, secrets: dict[str, str]) -> None:
    run = ("run", "--rm", "--no-deps", "env-check")
    empty = dev.tree / FOLDER / "empty"
    empty.touch()
    faults = {
        "REDIS_PASSWORD_FILE: /run/secrets/REDIS_PASSWORD is empty": {
            "REDIS_PASSWORD_FILE": f"{FOLDER}/empty"
        },
        "REDIS_PASSWORD_FILE: REDIS_PASSWORD is set too": {"REDIS_PASSWORD": "another"},
        f"{dev.tree}/{FOLDER}/nowhere": {"REDIS_PASSWORD_FILE": f"{FOLDER}/nowhere"},
    }
    for fault, environment in faults.items():
        refused = dev.compose(*run, check=False, environment=environment)
        assert refused.returncode and fault in refused.stdout, refused.stdout

    # A changed secret is copied, and reported to stackctl.
    (dev.tree / FOLDER / "SENTRY_DSN").write_text("https://key@127.0.0.1/1")
    with_dsn = {"SENTRY_DSN_FILE": f"{FOLDER}/SENTRY_DSN"}
    assert "changed: SENTRY_DSN" in dev.compose(*run, environment=with_dsn).stdout
    assert "changed" not in dev.compose(*run, environment=with_dsn).stdout
    assert "changed: SENTRY_DSN" in dev.compose(*run).stdout
