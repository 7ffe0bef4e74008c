"""Which services publish ports, and which networks they are in."""

import pytest

from ops.environment.contract import VARIABLES
from tests.unit.config_files import ALL, compose, services
from tests.unit.test_consistency_compose import LAYERS, SERVERS, all_services

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")


def published(service: str, **variables: str) -> set[tuple[str, str, int]]:
    """Return the published ports: host address, host port, container port."""
    return {
        (port["host_ip"], port["published"], port["target"])
        for port in services(**variables)[service].get("ports", ())
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_publishes_the_ports_of_the_contract(layer: str) -> None:
    default = {name: variable.default_in(layer) for name, variable in VARIABLES.items()}
    # The stats page is on localhost in every layer.
    plain = {
        (default["HTTP_ADDRESS"], default["HTTP_PORT"], 8080),
        ("127.0.0.1", default["STATS_PORT"], 8888),
    }
    https = (default["HTTP_ADDRESS"], default["HTTPS_PORT"], 8443)
    secure = {"LAYER": layer, "TLS_CERTIFICATE": "certs/x"}

    assert published("haproxy", LAYER=layer) == plain
    assert published("haproxy", **secure) == plain | {https}
    given = services(**secure)["haproxy"]["environment"]
    assert given["HTTPS_PORT"] == default["HTTPS_PORT"]
    assert given["DJANGO_ALLOWED_HOSTS"] == VARIABLES["DJANGO_ALLOWED_HOSTS"].default_in("local")


def test_only_load_balancers_publish_ports_and_other_ports_are_on_localhost() -> None:
    """With Apache, it and one nginx have a direct port, to compare them."""
    ports = {name for name in services() if published(name, **ALL)}
    assert ports == {"haproxy", "apache", "server1", "nginx-balancer", "prometheus", "grafana"}
    direct = VARIABLES["DIRECT_ADDRESS"].default
    assert direct == VARIABLES["NGINX_BALANCER_ADDRESS"].default == "127.0.0.1"
    for name, variable, port in (
        ("apache", "APACHE_PORT", 8002),
        ("server1", "NGINX_PORT", 7999),
        ("nginx-balancer", "NGINX_BALANCER_PORT", 8090),
        ("prometheus", "PROMETHEUS_PORT", 9090),
        ("grafana", "GRAFANA_PORT", 3000),
    ):
        assert published(name, **ALL) == {(direct, VARIABLES[variable].default, port)}
    assert published("server1", LAYER="local") == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_ipv6_ports_are_published_on_a_network_of_haproxy_alone(layer: str) -> None:
    default = {name: variable.default_in(layer) for name, variable in VARIABLES.items()}
    both = {"LAYER": layer, "TLS_CERTIFICATE": "certs/x", "HTTP_IPV6_ADDRESS": "[::1]"}
    ipv4 = published("haproxy", LAYER=layer, TLS_CERTIFICATE="certs/x")

    assert published("haproxy", **both) - ipv4 == {
        ("::1", default["HTTP_PORT"], 8080),
        ("::1", default["HTTPS_PORT"], 8443),
    }
    assert ipv4 < published("haproxy", **both)
    network = compose(**both)["networks"]["visitors"]
    assert network["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    on_it = {
        name for name, one in services(**both).items() if "visitors" in one.get("networks", ())
    }
    assert on_it == {"haproxy"}
    # Without the variable the network is not created: an engine may have no IPv6.
    assert "visitors" not in services(LAYER=layer)["haproxy"]["networks"]


def test_services_without_need_of_the_internet_have_no_route_to_it() -> None:
    networks = compose()["networks"]
    no_answer = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert networks["front"]["driver_opts"] == no_answer and networks["backend"]["internal"]
    out = {name for name, service in all_services() if "edge" in service.get("networks", ())}
    assert out == {*SERVERS, "worker", "certbot", "alertmanager"}
    # The default route is that of the first network by name that is not internal.
    assert min(set(networks) - {"backend"}) == "edge"
    # With other options, compose would recreate the network of a running stack.
    assert set(networks["edge"]) <= {"name", "ipam"}
