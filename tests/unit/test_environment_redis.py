"""Redis URLs, from REDIS_URL or from REDIS_HOST and any REDIS_PASSWORD."""

import ssl
from pathlib import Path

import kombu.utils.url
import pytest
from redis.connection import parse_url

from ops import environment
from ops.environment import BROKER, CACHE, COUNTER, redis, redis_url

AWKWARD = "a\"b$c'd w#e\\f/@:%"
SHARED = {
    "DJANGO_SETTINGS_MODULE": "mysite.settings.production",
    "DJANGO_READ_DOTENV": "false",
    "DJANGO_SECRET_KEY": "k3y-" + "abcdefghij" * 6,
    "DJANGO_ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "sqlite:////nowhere",
}


def url(database: int, **environ: str) -> str:
    """Return the URL of a Redis database."""
    layer = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test"}
    return redis_url(environment.load({**layer, **environ}), database)


def faults(**environ: str) -> list[str]:
    """Return the names of the faults in production."""
    result = environment.faults({**SHARED, **environ}, "production", {"django"})
    assert all(fault.problem and fault.hint for fault in result)
    return [fault.name for fault in result]


def test_broker_cache_and_counter_use_separate_redis_databases() -> None:
    """Clearing the cache must not clear the rate counters."""
    urls = [url(number, REDIS_URL="redis://:x@h:6380/4") for number in (BROKER, CACHE, COUNTER)]

    assert urls == ["redis://:x@h:6380/4", "redis://:x@h:6380/5", "redis://:x@h:6380/6"]
    assert url(CACHE, REDIS_URL="redis://h") == "redis://h/1"


def test_every_client_of_a_redis_with_tls_verifies_its_certificate(authority: Path) -> None:
    """Without the option Celery's client would accept any certificate."""
    plain = url(BROKER, REDIS_URL="rediss://:x@h/4")
    assert plain == "rediss://:x@h/4?ssl_cert_reqs=required"

    named = url(BROKER, REDIS_URL="rediss://:x@h/4", REDIS_SSL_CA=str(authority))
    assert named == f"rediss://:x@h/4?ssl_cert_reqs=required&ssl_ca_certs={authority}"
    assert kombu.utils.url.parse_url(named)["ssl"] == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": str(authority),
    }
    assert parse_url(named)["ssl_ca_certs"] == str(authority)


def test_options_in_redis_url_override_those_of_the_stack(authority: Path) -> None:
    given = "rediss://h/4?ssl_cert_reqs=none"
    assert url(BROKER, REDIS_URL=given) == given


def test_redis_authority_without_tls_is_a_fault(authority: Path) -> None:
    named = {"REDIS_SSL_CA": str(authority)}
    assert faults(**named, REDIS_URL="redis://:x@h") == ["REDIS_SSL_CA"]
    assert faults(**named, REDIS_URL="rediss://:x@h") == []


@pytest.mark.parametrize(
    "option", ["ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_ca_certs=/x"]
)
def test_tls_options_in_redis_url_next_to_an_authority_are_a_fault(
    option: str, authority: Path
) -> None:
    """The authority would be ignored."""
    url = f"rediss://:x@h/4?{option}"
    assert faults(REDIS_SSL_CA=str(authority), REDIS_URL=url) == ["REDIS_SSL_CA"]
    assert faults(REDIS_URL=url) == []


def test_redis_url_supports_any_password() -> None:
    parsed = parse_url(url(COUNTER, REDIS_HOST="redis", REDIS_PASSWORD=AWKWARD))

    assert (parsed["host"], parsed["password"], parsed["db"]) == ("redis", AWKWARD, 2)
    assert parsed["username"] == redis.USER


def test_redis_url_of_an_external_host_has_no_user() -> None:
    parsed = parse_url(url(CACHE, REDIS_HOST="cache.example.com", REDIS_PASSWORD=AWKWARD))

    assert (parsed["host"], parsed["password"]) == ("cache.example.com", AWKWARD)
    assert not parsed.get("username")


def test_redis_url_overrides_redis_host() -> None:
    assert url(BROKER, REDIS_URL="redis://one", REDIS_HOST="two") == "redis://one/0"
    assert url(BROKER) == ""
    assert url(CACHE, REDIS_HOST="two") == "redis://two:6379/1"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ["REDIS_URL"]),
        ({"REDIS_HOST": "redis"}, ["REDIS_PASSWORD"]),
        ({"REDIS_HOST": "redis", "REDIS_PASSWORD": "local-sample-password"}, ["REDIS_PASSWORD"]),
        ({"REDIS_HOST": "redis", "REDIS_PASSWORD": "x"}, []),
        ({"REDIS_URL": "redis://h"}, []),
        ({"CELERY_BROKER_URL": "amqp://u:p@h//"}, []),
        ({"REDIS_URL": "http://h"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://h/x"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://:p#w@h"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://h:port"}, ["REDIS_URL"]),
        ({"CELERY_BROKER_URL": "broker"}, ["CELERY_BROKER_URL"]),
    ],
)
def test_wrong_redis_variables_are_reported_once(
    environ: dict[str, str], expected: list[str]
) -> None:
    assert faults(**environ) == expected


@pytest.mark.parametrize(
    ("rate", "good"),
    [
        ("600/minute", True),
        ("1/day", True),
        ("off", True),
        ("0/minute", False),
        ("600", False),
        ("600/min", False),
        ("many/hour", False),
    ],
)
def test_throttle_rates_are_validated(rate: str, good: bool) -> None:
    result = environment.faults({"THROTTLE_ANON": rate}, "test")

    assert [fault.name for fault in result] == ([] if good else ["THROTTLE_ANON"])
