"""The check of the environment: no two published ports are the same."""

import pytest

from ops import environment
from ops.environment.check import PUBLISHED
from ops.environment.contract import VARIABLES
from tests.unit.environments import names
from tools.stackctl.checks.ports import PORT_NAMES


def test_published_ports_must_differ() -> None:
    assert names({"HTTP_PORT": "9000", "STATS_PORT": "9000"}, "local") == ["STATS_PORT"]
    assert names({"HTTP_PORT": "8888"}, "local") == ["STATS_PORT"]
    assert names({"HTTP_PORT": "9000"}, "local") == []


@pytest.mark.parametrize(
    ("port", "switch"),
    [
        ("HTTPS_PORT", {"TLS_CERTIFICATE": "certs/localhost"}),
        ("NGINX_PORT", {"APACHE": "1"}),
        ("APACHE_PORT", {"APACHE": "1"}),
        ("PROMETHEUS_PORT", {"MONITORING": "prometheus"}),
        ("GRAFANA_PORT", {"MONITORING": "grafana"}),
    ],
)
def test_port_of_an_optional_service_must_differ_when_it_is_on(
    port: str, switch: dict[str, str]
) -> None:
    assert names({port: "8080"}, "local") == []
    assert names({port: "8080", **switch}, "local") == [port]
    assert names({port: "8888", **switch}, "local") == [port]
    assert names({"HTTP_PORT": VARIABLES[port].default, **switch}, "local") == [port]
    assert names(switch, "local") == []


def test_each_duplicate_port_is_reported() -> None:
    same = {"HTTP_PORT": "9000", "NGINX_PORT": "9000", "APACHE_PORT": "9000", "APACHE": "1"}

    result = environment.faults(same, "local")

    assert [fault.name for fault in result] == ["NGINX_PORT", "APACHE_PORT"]
    assert result[0].problem == "it is 9000, and so is HTTP_PORT"
    # An invalid port is one fault, not two.
    assert names({**same, "HTTP_PORT": "http"}, "local") == ["HTTP_PORT", "APACHE_PORT"]


def test_every_published_port_is_compared() -> None:
    assert {*PUBLISHED, "NGINX_BALANCER_PORT"} == set(PORT_NAMES.values())
