"""docs/monitoring.md names the port and the services of the metrics."""

import re

from ops.metrics import PORT
from tests.unit.config_files import (
    services,
    text_of,
)


def test_monitoring_guide_names_the_metrics_port_and_services() -> None:
    page = text_of("docs/monitoring.md")

    assert f"port: {PORT}" in page
    for name in re.findall(r"names: \[(.+)\]", page)[0].split(", "):
        assert name in services()
