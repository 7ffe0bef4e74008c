"""The rehearsal: the real `eb` client, a fake Elastic Beanstalk, MySQL, and load."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eb.docker import Container, remove
from tests.eb.fake_beanstalk import FakeBeanstalk
from tests.eb.fake_platform import Platform
from tests.eb.rehearsal import EB, NAME, Rehearsal
from tests.ports import free_port
from tests.stack.compose import docker
from tests.tree import ROOT, copy_tree
from tests.waiting import eventually

# Characters that `--env-file` must pass on unchanged; no comma, since `--envvars` splits at commas.
SPECIAL_CHARACTERS = "a\"b$c'd w#e\\f$HOME"


@pytest.fixture(scope="session")
def client() -> Path:
    """Install the real client in its own virtual environment."""
    subprocess.run(["make", "--silent", ".venv-eb/.eb"], cwd=ROOT, check=True)
    return EB


@pytest.fixture(scope="module")
def moto(client: Path, network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a fake S3 and IAM at an address that the containers reach too."""
    port = free_port()
    template = "{{(index .IPAM.Config 0).Gateway}}"
    gateway = docker("network", "inspect", "--format", template, network).strip()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [client.with_name("moto_server"), "--host", gateway, "--port", str(port)],
            env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://{gateway}:{port}"
        eventually(lambda: "Running on" in log.read_text(), seconds=60, what="moto answers")
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """Create the network of the rehearsal, after removing leftovers of an aborted run."""
    for name in docker("ps", "--all", "--format", "{{.Names}}").split():
        if name.startswith(f"{NAME}-"):
            remove(name)
    subprocess.run(["docker", "network", "rm", NAME], capture_output=True, check=False)
    docker("network", "create", NAME)
    yield NAME
    docker("network", "rm", NAME)


@pytest.fixture(scope="module")
def database(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run MySQL instead of RDS; return the variables that Elastic Beanstalk sets."""
    password = SPECIAL_CHARACTERS + secrets.token_urlsafe(8)
    container = Container(f"{NAME}-db")
    # As RDS has one user, with all rights on the database. The image's own script fails to create
    # it with such a password.
    literal = password.replace("\\", "\\\\").replace("'", "''")
    user = tmp_path_factory.mktemp("mysql") / "user.sql"
    user.write_text(
        f"CREATE USER mysite IDENTIFIED BY '{literal}';\nGRANT ALL ON mysite.* TO mysite;\n"
    )
    container.run(
        *("--network", network, "--env", "MYSQL_DATABASE=mysite", "--env", "DB_USER=mysite"),
        *("--env", f"DB_PASSWORD={password}", "--env", "MYSQL_RANDOM_ROOT_PASSWORD=yes"),
        *("--volume", f"{ROOT / 'mysql/conf.d'}:/etc/mysql/conf.d:ro"),
        *("--volume", f"{user}:/docker-entrypoint-initdb.d/user.sql:ro"),
        *("--tmpfs", "/var/lib/mysql:size=1g"),
        "mysql:9.7",
    )
    yield {
        "RDS_HOSTNAME": container.name,
        "RDS_PORT": "3306",
        "RDS_DB_NAME": "mysite",
        "RDS_USERNAME": "mysite",
        "RDS_PASSWORD": password,
    }
    remove(container.name)


@pytest.fixture(scope="module")
def rehearsal(
    moto: str, network: str, database: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rehearsal]:
    """Create a fresh clone with one commit, the fake service and the client; no environment yet."""
    folder = tmp_path_factory.mktemp("beanstalk")
    # The users of the containers read the mounted files of nginx.
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    service = FakeBeanstalk(
        moto, folder, lambda name: Platform(f"{NAME}-{name}", network, folder / name)
    )
    rehearsal = Rehearsal(copy_tree(tmp_path_factory.mktemp("clone")), service, moto, database)
    try:
        yield rehearsal
    finally:
        service.stop()
