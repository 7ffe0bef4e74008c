"""The metrics' port and services, as docs/monitoring.md names them."""

import re

from ops.metrics import PORT
from tests.unit.config_files import (
    services,
    text_of,
)


def test_the_page_names_the_port_and_each_service() -> None:
    page = text_of("docs/monitoring.md")

    assert f"port: {PORT}" in page
    for name in re.findall(r"names: \[(.+)\]", page)[0].split(", "):
        assert name in services()
