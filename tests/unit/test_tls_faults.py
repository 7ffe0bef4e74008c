"""Faults of TLS are named with their variables, and are no outage."""

import pytest
import redis

from ops import tls
from ops.breaker import Breaker
from ops.health.checks import no_answer

# As redis-py wraps what Python 3.13 says of real servers.
UNTRUSTED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer"
OTHER_HOST = "certificate verify failed: Hostname mismatch, certificate is not valid for 'other'"
NO_TLS = "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1029)"


def wrapped(words: str, kind: type[OSError] = OSError) -> redis.ConnectionError:
    """Return the error of a client, raised from that of the connection."""
    error = redis.ConnectionError("Error connecting to redis.test:6379.")
    error.__cause__ = kind(words)
    return error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (UNTRUSTED, "TLS: the server's certificate is not trusted; check CA"),
        (OTHER_HOST, "TLS: the server's certificate is for another host; check the host and MODE"),
        (NO_TLS, "TLS: the server offers none; enable it there, or change MODE"),
        ("sslv3 alert handshake failure", "TLS: the handshake failed; check MODE"),
        ("Connection refused", ""),
    ],
)
def test_reason_names_the_variable_to_check(words: str, reason: str) -> None:
    error = wrapped(words)
    assert tls.reason(error, "MODE", "CA") == reason
    assert tls.is_fault(error) == bool(reason)
    assert no_answer(error, "MODE", "CA") == (reason or "does not answer")


def test_redis_that_closes_the_connection_may_require_tls() -> None:
    error = wrapped("Connection reset by peer", ConnectionResetError)
    assert "write rediss:// in REDIS_URL" in no_answer(error, "REDIS_URL", "REDIS_SSL_CA")
    assert no_answer(error, "DB_SSL_MODE", "DB_SSL_CA") == "does not answer"


@pytest.mark.parametrize(("words", "is_open"), [(UNTRUSTED, False), ("Connection refused", True)])
def test_breaker_opens_for_an_outage_and_not_for_a_fault_of_tls(words: str, is_open: bool) -> None:
    """Otherwise the next try would only say that Redis did not answer."""
    breaker = Breaker("Redis")
    with pytest.raises(redis.ConnectionError), breaker.call(redis.ConnectionError):
        raise wrapped(words)
    assert breaker.is_open == is_open
