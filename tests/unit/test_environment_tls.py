"""DB_SSL_MODE and DB_SSL_CA: the driver's options, and their faults."""

import re
from pathlib import Path
from typing import Any

import pytest

from ops import environment
from ops.environment.authority import system_file

TEST = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test"}
GROUP = {"DB_NAME": "site", "DB_USER": "web", "DB_PASSWORD": "x", "DB_HOST": "db"}
RDS = {
    **{"RDS_DB_NAME": "ebdb", "RDS_USERNAME": "eb", "RDS_PASSWORD": "x"},
    "RDS_HOSTNAME": "rds.example",
}
WAYS = {
    "mysql": (
        {**GROUP, "DB_ENGINE": "mysql"},
        {"DATABASE_URL": "mysql://u:p@h/n"},
        {**RDS, "RDS_PORT": "3306"},
    ),
    "postgres": (
        {**GROUP, "DB_ENGINE": "postgres"},
        {"DATABASE_URL": "postgres://u:p@h/n"},
        {**RDS, "RDS_PORT": "5432"},
    ),
}
EVERY_WAY = [(engine, way) for engine, ways in WAYS.items() for way in ways]


def options(**environ: str) -> dict[str, Any]:
    """Return the driver's options of TLS."""
    found = environment.database_settings(environment.load({**TEST, **environ}))["OPTIONS"]
    return {name: value for name, value in found.items() if name.startswith("ssl")}


def faults(**environ: str) -> str:
    """Return the faults, one a line."""
    return "\n".join(map(str, environment.faults({**TEST, **environ}, "test", {"django"})))


@pytest.mark.parametrize(("engine", "way"), EVERY_WAY)
def test_authority_alone_means_the_strictest_mode(
    engine: str, way: dict[str, str], authority: Path
) -> None:
    file = str(authority)
    expected = {
        "mysql": {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": file}},
        "postgres": {"sslmode": "verify-full", "sslrootcert": file},
    }
    assert options(**way, DB_SSL_CA=file) == expected[engine]


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED"])
def test_mode_without_tls_gives_mysql_no_authority(mode: str, authority: Path) -> None:
    way = WAYS["mysql"][0]
    assert options(**way, DB_SSL_MODE=mode, DB_SSL_CA=str(authority)) == {"ssl_mode": mode}


@pytest.mark.parametrize(("engine", "way"), EVERY_WAY)
def test_mode_without_authority_trusts_those_of_the_system(
    engine: str, way: dict[str, str]
) -> None:
    assert Path(system_file()).read_text().count("BEGIN CERTIFICATE") > 1
    expected = {
        "mysql": ("verify_ca", {"ssl_mode": "VERIFY_CA", "ssl": {"ca": system_file()}}),
        "postgres": ("verify-ca", {"sslmode": "verify-ca", "sslrootcert": system_file()}),
    }
    mode, wanted = expected[engine]
    assert options(**way, DB_SSL_MODE=mode) == wanted


@pytest.mark.parametrize(("engine", "way"), EVERY_WAY)
def test_database_has_no_tls_options_by_default(engine: str, way: dict[str, str]) -> None:
    assert options(**way) == {}
    mode = {"mysql": "REQUIRED", "postgres": "require"}[engine]
    assert mode in options(**way, DB_SSL_MODE=mode).values()
    assert len(options(**way, DB_SSL_MODE=mode)) == 1


@pytest.mark.parametrize(("engine", "way"), EVERY_WAY)
def test_mode_of_the_other_engine_is_a_fault(engine: str, way: dict[str, str]) -> None:
    mode = {"mysql": "verify-full", "postgres": "VERIFY_IDENTITY"}[engine]
    text = faults(**way, DB_SSL_MODE=mode)
    assert f"{mode} is no mode of {engine}" in text
    assert {"mysql": "VERIFY_IDENTITY", "postgres": "verify-full"}[engine] in text


def test_certificates_as_text_are_passed_as_a_file(authority: Path) -> None:
    text = authority.read_text()
    file = options(**WAYS["postgres"][0], DB_SSL_CA=text)["sslrootcert"]
    assert Path(file).read_text() == text
    assert options(**WAYS["mysql"][0], DB_SSL_CA=text)["ssl"] == {"ca": file}


def test_authority_can_come_from_a_mounted_file(authority: Path) -> None:
    file = options(**WAYS["postgres"][0], DB_SSL_CA_FILE=str(authority))["sslrootcert"]
    assert Path(file).read_text() == authority.read_text().removesuffix("\n")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("nowhere/ca.pem", "cannot be read here: No such file"),
        ("pyproject.toml", "no valid certificate"),
        ("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", "no certificate, but a key"),
        ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----", "no valid certificate"),
    ],
)
@pytest.mark.parametrize("name", ["DB_SSL_CA", "REDIS_SSL_CA"])
def test_authority_without_a_certificate_is_a_fault(name: str, given: str, problem: str) -> None:
    text = faults(**{name: given, "REDIS_URL": "rediss://h"})
    assert re.search(f"{name}: .*{problem}", text)


@pytest.mark.parametrize("option", ["ssl_mode", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"])
def test_tls_options_in_the_url_and_in_a_variable_are_a_fault(option: str, authority: Path) -> None:
    """One of them would be ignored."""
    url = f"mysql://u:p@h/n?{option}=x"
    text = faults(DATABASE_URL=url, DB_SSL_CA=str(authority))
    assert f"DATABASE_URL has {option} too" in text


def test_sqlite_ignores_tls(authority: Path) -> None:
    environ = {"DATABASE_URL": "sqlite:///x", "DB_SSL_CA": str(authority)}
    assert options(**environ) == {}
    assert faults(**environ) == ""
