"""Databases and a Redis that require TLS: right and wrong authority, no TLS, another host."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authorities import Authority
from tests.stack.compose import STACK_NAME, docker
from tests.waiting import eventually

PASSWORD = "s3cret"
COPY = "install -m 600 -o {0} -g {0} /certs/key.pem /tmp/key.pem && exec docker-entrypoint.sh "
# Each server's image, variables and command; it accepts only TLS.
SERVERS = {
    # remove_mysql: begin
    "mysql": (
        "mysql:9.7",
        {
            "MYSQL_DATABASE": "site",
            "MYSQL_USER": "web",
            "MYSQL_PASSWORD": PASSWORD,
            "MYSQL_ROOT_PASSWORD": PASSWORD,
            "MYSQL_INITDB_SKIP_TZINFO": "yes",
        },
        COPY.format("mysql")
        + "mysqld --require-secure-transport=ON --ssl-cert=/certs/cert.pem --ssl-key=/tmp/key.pem",
    ),
    # remove_mysql: end
    # remove_postgres: begin
    "postgres": (
        "postgres:17",
        {"POSTGRES_DB": "site", "POSTGRES_USER": "web", "POSTGRES_PASSWORD": PASSWORD},
        COPY.format("postgres")
        + "postgres -c ssl=on -c ssl_cert_file=/certs/cert.pem -c ssl_key_file=/tmp/key.pem "
        "-c hba_file=/certs/pg_hba.conf",
    ),
    # remove_postgres: end
    "redis": (
        "redis:8.0",
        {},
        COPY.format("redis") + "redis-server --port 0 --tls-port 6379 --tls-auth-clients no "
        "--tls-cert-file /certs/cert.pem --tls-key-file /tmp/key.pem "
        f"--tls-ca-cert-file /certs/cert.pem --requirepass {PASSWORD}",
    ),
}
ENGINES = [name for name in SERVERS if name != "redis"]
REQUIRED = {"mysql": "REQUIRED", "postgres": "require"}
# What people see: the components of /healthz, and what migrate prints at start.
ASK = """
import json, django; django.setup()
from django.db import connection
from ops.database.outage import wait_for_database
from ops.health.report import component_states
states = component_states()
words = {name: states[name].get("error", "up") for name in ("database", "cache", "broker")}
try:
    wait_for_database(connection, 1, print)
    words["start"] = "up"
except Exception as error:
    words["start"] = str(error)
print(json.dumps(words))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the servers' certificate, its authority and another one."""
    folder = tmp_path_factory.mktemp("certs")
    authority = Authority()
    certificate, key = authority.certificate(*(f"{server}.test" for server in SERVERS))
    texts = {
        "ca.pem": authority.pem,
        "other.pem": Authority().pem,
        "cert.pem": certificate,
        "key.pem": key,
        "pg_hba.conf": "local all all trust\nhostssl all all all scram-sha-256\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    for path in (folder, folder.parent):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def network(folder: Path, production_image: str) -> Iterator[str]:
    """Start the servers on a network of their own, on which each has two names."""
    name = f"{STACK_NAME}-tls"
    docker("network", "create", name)
    try:
        for server, (server_image, environment, command) in SERVERS.items():
            options = [
                word for key, text in environment.items() for word in ("-e", f"{key}={text}")
            ]
            docker(
                *("run", "--detach", "--name", f"{name}-{server}", "--network", name),
                *("--network-alias", f"{server}.test", "--network-alias", f"other-{server}"),
                *("--volume", f"{folder}:/certs:ro", *options, "--entrypoint", "bash"),
                *(server_image, "-c", command),
            )
        yield name
    finally:
        for server in docker("ps", "-aq", "--filter", f"name={name}-").split():
            docker("rm", "--force", "--volumes", server)
        docker("network", "rm", name)


def ask(
    production_image: str, network: str, folder: Path, engine: str, **environ: str
) -> dict[str, str]:
    """Return what the application says of its components, and a migration at its start."""
    given = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings.dev",
        "DJANGO_SECRET_KEY": "x" * 30 + "0123456789abcdefghijklmnop",
        "DJANGO_ALLOWED_HOSTS": "localhost",
        "DB_ENGINE": engine,
        "DB_NAME": "site",
        "DB_USER": "web",
        "DB_PASSWORD": PASSWORD,
        "DB_HOST": f"{engine}.test",
        "REDIS_URL": f"rediss://:{PASSWORD}@redis.test",
        **environ,
    }
    options = [word for name, text in given.items() for word in ("-e", f"{name}={text}")]
    done = docker(
        *("run", "--rm", "--network", network, "--volume", f"{folder}:/certs:ro"),
        *(*options, "--entrypoint", "python", production_image, "-c", ASK),
    )
    return json.loads(done.splitlines()[-1])


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, production_image: str, network: str, folder: Path
) -> str:
    """Return an engine once its server and Redis answer."""
    tls = {"DB_SSL_CA": "/certs/ca.pem", "REDIS_SSL_CA": "/certs/ca.pem"}

    def is_up() -> bool:
        return set(ask(production_image, network, folder, request.param, **tls).values()) == {"up"}

    eventually(is_up, seconds=120, what=f"{request.param} and Redis answer with TLS")
    return str(request.param)


def test_right_authority_is_accepted_as_text_too(
    engine: str, production_image: str, network: str, folder: Path
) -> None:
    text = (folder / "ca.pem").read_text()
    words = ask(production_image, network, folder, engine, DB_SSL_CA=text, REDIS_SSL_CA=text)
    assert set(words.values()) == {"up"}


def test_tls_without_verification_accepts_any_certificate(
    engine: str, production_image: str, network: str, folder: Path
) -> None:
    words = ask(production_image, network, folder, engine, DB_SSL_MODE=REQUIRED[engine])
    assert words["database"] == words["start"] == "up"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(
            {"DB_SSL_CA": "/certs/other.pem", "REDIS_SSL_CA": "/certs/other.pem"}, id="another"
        ),
        pytest.param({"DB_SSL_MODE": "strictest"}, id="the system's"),
    ],
)
def test_wrong_authority_is_named(
    engine: str, production_image: str, network: str, folder: Path, given: dict[str, str]
) -> None:
    strictest = {"mysql": "VERIFY_IDENTITY", "postgres": "verify-full"}[engine]
    given = {name: text.replace("strictest", strictest) for name, text in given.items()}
    words = ask(production_image, network, folder, engine, **given)
    assert "certificate is not trusted; check DB_SSL_CA" in words["database"]
    assert "certificate is not trusted; check REDIS_SSL_CA" in words["cache"]
    assert words["broker"] == words["cache"]
    assert "do not agree on TLS" in words["start"] and "check DB_SSL_CA" in words["start"]


@pytest.mark.parametrize("given", [{}, {"DB_SSL_CA": "/certs/ca.pem"}], ids=["", "authority"])
def test_missing_tls_is_named(
    engine: str, production_image: str, network: str, folder: Path, given: dict[str, str]
) -> None:
    off = {"DB_SSL_MODE": {"mysql": "DISABLED", "postgres": "disable"}[engine], **given}
    url = f"redis://:{PASSWORD}@redis.test"
    words = ask(production_image, network, folder, engine, **off, REDIS_URL=url)
    assert "the server requires it; set DB_SSL_MODE" in words["database"]
    assert "do not agree on TLS" in words["start"] and "set DB_SSL_MODE" in words["start"]


def test_certificate_for_another_host_is_named(
    engine: str, production_image: str, network: str, folder: Path
) -> None:
    words = ask(
        *(production_image, network, folder, engine),
        DB_HOST=f"other-{engine}",
        DB_SSL_CA="/certs/ca.pem",
        REDIS_URL=f"rediss://:{PASSWORD}@other-redis",
        REDIS_SSL_CA="/certs/ca.pem",
    )
    assert "for another host; check the host and DB_SSL_MODE" in words["database"]
    assert "for another host; check the host and REDIS_URL" in words["cache"]
    assert "another host" in words["start"]


# remove_mysql: begin
SWITCH = (
    "SET GLOBAL require_secure_transport = {0}; SET GLOBAL tls_version = '{1}'; "
    "ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR"
)


def test_required_tls_is_refused_where_mysql_offers_none(
    production_image: str, network: str, folder: Path
) -> None:
    """MySQL's client alone would go on without TLS."""

    def switch(required: str, versions: str) -> None:
        root = ("mysql", "--user=root", f"--password={PASSWORD}", "--execute")
        docker("exec", f"{network}-mysql", *root, SWITCH.format(required, versions))

    def words(**environ: str) -> dict[str, str]:
        authority = {"REDIS_SSL_CA": "/certs/ca.pem"}
        return ask(production_image, network, folder, "mysql", **authority, **environ)

    required = {"DB_SSL_MODE": "REQUIRED"}
    # The password is known to the server from then on: it accepts it without TLS too.
    eventually(lambda: words(**required)["database"] == "up", seconds=120, what="MySQL answers")
    switch("OFF", "")
    try:
        assert words()["database"] == "up"
        said = words(**required)
    finally:
        switch("ON", "TLSv1.2,TLSv1.3")
    assert "TLS: the server offers none" in said["database"]
    assert "TLS: the server offers none" in said["start"]


# remove_mysql: end
