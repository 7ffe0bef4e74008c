"""Prometheus's and Grafana's files agree with the stack and with docs/monitoring.md."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from ops.metrics import PORT
from tests.unit.config_files import ALL, mounts, services, text_of
from tests.unit.test_consistency_compose import EXPORTERS

FOLDER = "variants/monitoring"
DASHBOARD = json.loads(text_of(f"{FOLDER}/grafana/dashboards/stack.json"))


def configured(name: str) -> dict[str, Any]:
    """Return a file of Prometheus or Grafana."""
    content: dict[str, Any] = yaml.safe_load(text_of(f"{FOLDER}/{name}"))
    return content


def test_prometheus_scrapes_the_metrics_port_of_every_service_that_has_one() -> None:
    job, _ = configured("prometheus.yml")["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    servers = {name for name in services(**ALL) if name.startswith("server")}

    assert found["port"] == PORT
    assert set(found["names"]) == {*servers, "worker", "haproxy", *EXPORTERS}
    assert len(servers) == 6


@pytest.mark.parametrize("engine", ["mysql", "postgres"])
def test_exporters_listen_on_the_metrics_port(engine: str) -> None:
    stack = services(MONITORING="prometheus", DB_ENGINE=engine)

    for name in EXPORTERS:
        assert f"--web.listen-address=:{PORT}" in stack[name]["command"]
        assert f"http://127.0.0.1:{PORT}/" in stack[name]["healthcheck"]["test"]


def test_monitoring_guide_lists_every_alert() -> None:
    (group,) = configured("alerts.yml")["groups"]
    page = text_of("docs/monitoring.md")
    section = page[page.index("## Alerts") : page.index("## Errors")]

    assert re.findall(r"^\| `(\w+)`", section, re.M) == [
        rule["alert"] for rule in group["rules"] if "alert" in rule
    ]


def test_grafana_finds_its_files_and_prometheus() -> None:
    """No test starts Grafana."""
    grafana = services(MONITORING="grafana")["grafana"]
    (source,) = configured("grafana/datasources/prometheus.yaml")["datasources"]
    (provider,) = configured("grafana/dashboards/files.yaml")["providers"]
    environment = grafana["environment"]
    folder = environment["GF_PATHS_PROVISIONING"]

    assert mounts(grafana)[folder].endswith(f"{FOLDER}/grafana")
    assert provider["options"]["path"] == f"{folder}/dashboards"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/stack.json"
    assert source["url"] == "http://prometheus:9090"
    scrapes = configured("prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrapes
    used = [panel["datasource"] for panel in DASHBOARD["panels"]]
    used += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert {(one["type"], one["uid"]) for one in used} == {(source["type"], source["uid"])}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    places = [panel["gridPos"] for panel in panels]

    assert (
        len({panel["id"] for panel in panels}) == len({p["title"] for p in panels}) == len(panels)
    )
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)
