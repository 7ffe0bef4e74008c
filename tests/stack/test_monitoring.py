"""MONITORING=prometheus: its targets, alerts, and the queries of the dashboard."""

import json
import subprocess
from collections.abc import Callable, Iterator
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

    def reload(self) -> None:
        """Have it read its rules again."""
        docker("kill", "--signal", "HUP", self.stack.container("prometheus"))

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


def test_prometheus_loads_the_alerts_that_an_update_brings(prometheus: Prometheus) -> None:
    file = prometheus.stack.tree / "variants/monitoring/alerts.yml"
    text = file.read_text()

    def replace(new: str) -> None:
        """As git and copier do: another file of the same name."""
        file.unlink()
        file.write_text(new)

    def loaded() -> bool:
        rules = prometheus.ask("rules", type="alert")["groups"][0]["rules"]
        return "NotAnswering" in {rule["name"] for rule in rules}

    try:
        replace(text.replace("NotScraped", "NotAnswering"))
        eventually(loaded, seconds=60, what="Prometheus has the new alert")
    finally:
        replace(text)
        prometheus.reload()


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


ALERTMANAGER = """
route: {receiver: team, group_by: [alertname], group_wait: 0s}
receivers:
  - name: team
    webhook_configs: [{url: "http://receiver:8000/"}]
"""
# Prints each alert that it receives.
RECEIVER = """
import http.server

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("", 8000), Receiver).serve_forever()
"""


@pytest.fixture
def received(production: Stack) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Start a receiver of webhooks; yield a function that returns the alerts that it has got."""
    container = docker(
        *("run", "--detach", "--network", f"{production.project}_front"),
        *("--network-alias", "receiver", "--entrypoint", "python"),
        *(production.inspect("server1", "{{.Image}}"), "-c", RECEIVER),
    )

    def alerts() -> list[dict[str, Any]]:
        sent = [
            json.loads(line)
            for line in docker("logs", container).splitlines()
            if line.startswith("{")
        ]
        return [alert for one in sent for alert in one["alerts"]]

    try:
        yield alerts
    finally:
        docker("rm", "--force", container)


@pytest.fixture
def alertmanager(prometheus: Prometheus) -> Iterator[Stack]:
    """Start Alertmanager as the docs say, with a file that only its owner can read."""
    stack = prometheus.stack
    file = stack.tree / "var/alertmanager.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(ALERTMANAGER)
    file.chmod(0o600)
    stack.environment["ALERTMANAGER_CONFIG_FILE"] = "var/alertmanager.yml"
    try:
        stack.run_documented("docker compose up --detach --wait --force-recreate alertmanager")
        yield stack
    finally:
        stack.compose("rm", "--force", "--stop", "alertmanager")
        docker("volume", "rm", f"{stack.project}_alertmanager-data")
        del stack.environment["ALERTMANAGER_CONFIG_FILE"]
        file.unlink()


def test_alerts_reach_the_receiver_of_the_team(
    prometheus: Prometheus, alertmanager: Stack, received: Callable[[], list[dict[str, Any]]]
) -> None:
    """One of amtool; then one of Prometheus, whose rules wait here for nothing."""
    send = "docker compose exec alertmanager amtool --alertmanager.url=http://127.0.0.1:9093"
    alertmanager.run_documented(f"{send} alert add alertname=Test")
    eventually(lambda: "Test" in names(received()), seconds=20, what="the alert of amtool")
    check_unprivileged(alertmanager, "alertmanager")
    # An alert that fires before is sent again only after a minute.
    eventually(
        lambda: prometheus.ask("alertmanagers")["activeAlertmanagers"],
        seconds=60,
        what="Prometheus has the address of the Alertmanager",
    )

    rules = alertmanager.tree / "variants/monitoring/alerts.yml"
    text = rules.read_text()
    try:
        rules.write_text(text.replace("for: 2m", "for: 0s"))
        prometheus.reload()
        alertmanager.compose("pause", "redis-exporter")
        eventually(lambda: "NotScraped" in names(received()), seconds=90, what="Prometheus's alert")
    finally:
        alertmanager.compose("unpause", "redis-exporter")
        rules.write_text(text)
        prometheus.reload()
    (alert,) = [one for one in received() if one["labels"]["alertname"] == "NotScraped"]
    assert alert["status"] == "firing" and alert["labels"]["service"] == "redis-exporter"
    assert alert["annotations"]["summary"].endswith("./stackctl status")
    alertmanager.stop("alertmanager")


def names(alerts: list[dict[str, Any]]) -> set[str]:
    """Return the names of alerts."""
    return {alert["labels"]["alertname"] for alert in alerts}


def test_stopped_service_of_monitoring_ends_without_being_killed(prometheus: Prometheus) -> None:
    """Must run last of those with this fixture, which removes the containers afterwards."""
    prometheus.stack.stop(*CONTAINERS)


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
