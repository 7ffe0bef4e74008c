"""Unit tests that use a database, on MySQL and PostgreSQL, in the production image.

tests/adopted_users.py runs first. `make test-unit` runs these tests on SQLite.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME, docker
from tests.tree import ROOT

# Pure Python packages that the image does not have.
EXTRA_PACKAGES = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest-django")
# The apps of the project, which have their own tests.
APPS = sorted(path.parent.name for path in ROOT.glob("*/apps.py"))
EXTRA_IMPORTS = ("requests", "idna")
# These need packages that are not pure Python: a fake S3, schemathesis, the client of Kafka,
# cryptography.
LEFT_OUT = {
    *(f"tests/unit/test_{name}.py" for name in ("api_schema", "parked_tasks", "mail_delivery")),
    # remove_demo: begin
    *(f"demo/tests/test_{name}.py" for name in ("s3", "schema")),
    # remove_demo: end
}
# Wait for the database first, since the tests do not.
WAIT = (
    "import django; django.setup(); from django.db import connection; "
    "from ops.database.outage import wait_for_database; "
    "wait_for_database(connection, 120, print)"
)
RUN = 'python -c "$0" && python -m tests.adopted_users && exec python -m pytest "$@"'
PASSWORD = secrets.token_urlsafe(16)
# For each DB_ENGINE: its image, data folder, and the variables that create user and database.
SERVERS = {
    "mysql": (
        "mysql:9.7",
        "/var/lib/mysql",
        {
            "MYSQL_USER": "tester",
            "MYSQL_DATABASE": "test_site",
            "MYSQL_PASSWORD": PASSWORD,
            "MYSQL_RANDOM_ROOT_PASSWORD": "yes",
            "MYSQL_INITDB_SKIP_TZINFO": "yes",
        },
    ),
    "postgres": (
        "postgres:17",
        "/var/lib/postgresql/data",
        {"POSTGRES_USER": "tester", "POSTGRES_PASSWORD": PASSWORD},
    ),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the packages that the image does not have."""
    folder = tmp_path_factory.mktemp("packages")
    for name in (*EXTRA_PACKAGES, *EXTRA_IMPORTS):
        package = distribution(name)
        for file in package.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(package.locate_file(file))), target)
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Return the files that have tests marked `database`."""
    listed = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "--collect-only",
                "--quiet",
                "-p",
                "no:cacheprovider",
            ),
            *("-m", "database", *APPS, "tests/unit"),
        ],
        cwd=ROOT,
        # The developer's -v would list them in another form.
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = {line.partition("::")[0] for line in listed.splitlines() if "::" in line}
    assert files > LEFT_OUT
    return sorted(files - LEFT_OUT)


@pytest.fixture(params=SERVERS)
def database(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Start a database server in memory; yield the DB_ENGINE and its container."""
    image, data, environment = SERVERS[request.param]
    name = f"{STACK_NAME}-database-{request.param}"
    options = [word for key, text in environment.items() for word in ("--env", f"{key}={text}")]
    docker("run", "--detach", "--name", name, "--tmpfs", f"{data}:size=1g", *options, image)
    try:
        yield request.param, name
    finally:
        docker("rm", "--force", "--volumes", name)


def test_unit_tests_pass_on_a_real_database(
    database: tuple[str, str], production_image: str, packages: Path, files: list[str]
) -> None:
    engine, server = database
    environment = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
        "DB_ENGINE": engine,
        # On MySQL the only database; on PostgreSQL the tests create their own.
        "DB_NAME": {"mysql": "test_site", "postgres": "postgres"}[engine],
        "TEST_DB_NAME": "test_site",
        "DB_USER": "tester",
        "DB_PASSWORD": PASSWORD,
        # The tests share the network of the database server.
        "DB_HOST": "127.0.0.1",
        "DB_WAIT_SECONDS": "120",
        "PYTHONPATH": "/srv/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    mounts = {
        packages: "/srv/packages",
        ROOT / "tests": "/srv/project/tests",
        # The shared fixtures.
        ROOT / "conftest.py": "/srv/project/conftest.py",
        ROOT / "tools": "/srv/project/tools",
        ROOT / "pyproject.toml": "/srv/project/pyproject.toml",
    }
    assert len(files) > 10

    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--network", f"container:{server}"),
            *(word for name in environment for word in ("--env", name)),
            *(word for here, there in mounts.items() for word in ("-v", f"{here}:{there}:ro")),
            *(production_image, "sh", "-c", RUN, WAIT),
            *("--quiet", "-p", "no:cacheprovider", "-m", "database", *files),
        ],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8000:]
    print(done.stdout.splitlines()[-1])
