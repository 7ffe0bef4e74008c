"""MONITORING=prometheus: its targets, alerts, and the queries of the dashboard."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from tests.ports import free_port
from tests.stack.compose import APP_SERVER, Stack, docker, mysql_only
from tests.stack.test_privileges import check_unprivileged, networks
from tests.tree import ROOT
from tests.unit.config_files import services
from tests.waiting import eventually

FOLDER = ROOT / "variants" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD = json.loads((FOLDER / "grafana/dashboards/stack.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPORTERS = ("redis-exporter", "db-exporter")
SERVICES = {"haproxy", "node-exporter", "server1", "server2", "worker", *EXPORTERS}
CONTAINERS = ("prometheus", "node-exporter", *EXPORTERS)
# Series of a counter begin with its first event.
WITHOUT_EVENTS = ("celery_task", "mysite_backup_")


class Prometheus:
    """The container, and its HTTP API."""

    def __init__(self, stack: Stack) -> None:
        """Start it next to a stack that runs."""
        self.stack = stack
        self.port = free_port()
        given = {"MONITORING": "prometheus", "PROMETHEUS_PORT": str(self.port)}
        stack.environment.update(given)
        stack.compose("up", "--detach", "--wait", "--no-deps", *CONTAINERS)

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        answer = requests.get(url, params=parameters, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression."""
        return list(self.ask("query", query=expression)["result"])

    def answering(self) -> set[str]:
        """Return the services that were scraped without an error."""
        targets = self.ask("targets")["activeTargets"]
        return {one["labels"]["service"] for one in targets if one["health"] == "up"}

    def remove(self) -> None:
        """Remove the container, and leave the stack without it."""
        self.stack.compose("rm", "--force", "--stop", "--volumes", *CONTAINERS)
        for name in ("MONITORING", "PROMETHEUS_PORT"):
            del self.stack.environment[name]


@pytest.fixture(scope="module")
def prometheus(production: Stack) -> Iterator[Prometheus]:
    """Start Prometheus, and wait until it has every service's metrics twice."""
    server = Prometheus(production)
    try:
        for _ in range(4):
            production.get("/profile/")
        eventually(
            lambda: len(server.query("count_over_time(up[5m]) > 2")) >= len(SERVICES),
            seconds=120,
            what="each target was scraped three times",
        )
        yield server
    finally:
        server.remove()


def test_prometheus_scrapes_every_server_the_worker_and_haproxy(prometheus: Prometheus) -> None:
    assert prometheus.answering() == SERVICES
    assert {one["health"] for one in prometheus.ask("targets")["activeTargets"]} == {"up"}
    query = ("promtool", "query", "instant", "http://127.0.0.1:9090", "up")
    assert prometheus.stack.run_in("prometheus", *query).count("=> 1 ") == len(SERVICES)


def test_prometheus_has_loaded_every_alert(prometheus: Prometheus) -> None:
    loaded = prometheus.ask("rules", type="alert")["groups"][0]["rules"]

    assert [rule["name"] for rule in loaded] == [rule["alert"] for rule in ALERTS]
    assert {(rule["health"], rule.get("lastError", "")) for rule in loaded} == {("ok", "")}
    check = ("promtool", "check", "rules", "/etc/prometheus/alerts.yml")
    assert "SUCCESS" in prometheus.stack.run_in("prometheus", *check)


def test_exporters_read_the_limits_of_redis_and_the_database(prometheus: Prometheus) -> None:
    read = prometheus.query('{service=~".+-exporter", __name__=~".+_up"}')
    (limit,) = prometheus.query("redis_memory_max_bytes")
    (used,) = prometheus.query("service:database_connections:ratio")

    assert {(one["metric"]["service"], one["value"][1]) for one in read} == {
        (service, "1") for service in EXPORTERS
    }
    assert int(limit["value"][1]) == 256 * 2**20
    assert 0 < float(used["value"][1]) < 0.5


@pytest.mark.parametrize("service", EXPORTERS)
def test_exporter_is_unprivileged_and_publishes_no_port(
    prometheus: Prometheus, service: str
) -> None:
    stack = prometheus.stack

    check_unprivileged(stack, service)
    assert networks(stack, service) == {"front", "backend"}
    assert json.loads(stack.inspect(service, "{{json .HostConfig.PortBindings}}")) == {}
    password = stack.run_in("redis", "cat", "/run/secrets/EXPORTER_PASSWORD")
    shown = docker("inspect", stack.container(service)) + stack.logs(service)
    assert password and password not in shown


def test_user_of_the_exporter_reads_no_data_of_redis(prometheus: Prometheus) -> None:
    said = prometheus.stack.run_in(
        *("redis", "sh", "-c", AS_EXPORTER, "sh"),
        *("INFO memory", "GET kept", "KEYS *", "SCAN 0", "CONFIG GET *", "CLIENT LIST", "PING"),
    )

    assert "maxmemory:268435456" in said
    assert said.count("NOPERM") == 6


AS_EXPORTER = """
printf '%s\n' "$@" | REDISCLI_AUTH=$(cat /run/secrets/EXPORTER_PASSWORD) redis-cli --user exporter
"""


@mysql_only
def test_user_of_the_exporter_reads_no_table_of_mysql(prometheus: Prometheus) -> None:
    client = (
        "MYSQL_PWD=$(cat /run/secrets/EXPORTER_PASSWORD) mysql --host=127.0.0.1 --user=exporter"
    )
    said = prometheus.stack.run_in("db", "sh", "-c", f"{client} -N --execute='SHOW GRANTS'")

    assert said.splitlines() == ["GRANT USAGE ON *.* TO `exporter`@`%`"]


@pytest.mark.parametrize("expression", QUERIES)
def test_query_of_the_dashboard_has_a_result(prometheus: Prometheus, expression: str) -> None:
    result = prometheus.query(expression.replace("$__rate_interval", "2m"))

    if APP_SERVER != "uwsgi" and "uwsgi" in expression:
        return
    assert result or any(name in expression for name in WITHOUT_EVENTS)


def test_alertmanager_in_the_network_receives_the_alerts(prometheus: Prometheus) -> None:
    """Any container of that name; this one never answers."""
    stack = prometheus.stack
    image = stack.inspect("server1", "{{.Image}}")
    network = ("--network", f"{stack.project}_front", "--network-alias", "alertmanager")
    run = ("run", "--detach", "--rm", "--entrypoint", "sleep", *network, image, "300")
    container = docker(*run)
    try:
        eventually(
            lambda: prometheus.ask("alertmanagers")["activeAlertmanagers"],
            seconds=60,
            what="Prometheus has the address of the Alertmanager",
        )
    finally:
        docker("rm", "--force", container)


def test_alerts_fire_for_their_fault_alone() -> None:
    """`promtool test rules`, with the rules of tests/stack/alerts.test.yml."""
    image = services(MONITORING="prometheus")["prometheus"]["image"]
    tests = ROOT / "tests/stack/alerts.test.yml"
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--network", "none", "--entrypoint", "promtool"),
            *("--volume", f"{FOLDER}:/etc/prometheus:ro"),
            *("--volume", f"{tests}:/tests.yml:ro", image, "test", "rules", "/tests.yml"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        alert["alertname"]
        for test in yaml.safe_load(tests.read_text())["tests"]
        for alert in test.get("alert_rule_test", ())
        if alert["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in ALERTS}
