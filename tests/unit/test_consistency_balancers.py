"""What HAProxy and Apache have in common with the servers behind them.

Only here: a client from each of the trusted networks, and uploads with HAPROXY_BALANCE=source.
"""

import re

from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    haproxy_sections,
    httpd_values,
    nginx_directives,
    text_of,
)

LAYERS = ("local", "dev", "production")
APACHE = "apache"
# What nginx keeps in files of its own.
TEMPORARY = ("client_body", "proxy", "uwsgi", "fastcgi", "scgi")


def backend_servers() -> dict[str, dict[str, str]]:
    """Return the servers of each of HAProxy's backends and their addresses, Apache aside."""
    return {
        section: {name: place for name, place in members.items() if name != APACHE}
        for section, members in backend_members().items()
    }


def backend_members() -> dict[str, dict[str, str]]:
    """Return whom each of HAProxy's backends asks, and where."""
    return {
        section: {line.split()[1]: line.split()[2] for line in lines if line.startswith("server ")}
        for section, lines in haproxy_sections().items()
        if section.startswith("backend ") and section != "backend retry_backend"
    }


def test_apache_believes_whom_nginx_believes() -> None:
    """Of who the client is, and which ids of requests."""
    private = [item.arguments[0] for item in nginx_directives() if item.name == "set_real_ip_from"]
    told = " ".join(httpd_values("SetEnvIfExpr"))

    assert private == re.findall(r"-R '([^']+)'", told)
    (wanted,) = re.findall(r'"~\^(\S+)\$" \$http_x_request_id', text_of("nginx/nginx.conf"))
    assert f"/^({wanted})$/" in told


def test_haproxy_balances_as_it_is_told() -> None:
    """Uploads too where a client has a server of its own; else they go where fewest are."""
    told = 'balance "${HAPROXY_BALANCE}"'
    sections = haproxy_sections()

    assert told in sections["backend dynamic_backend"]
    assert told in sections["backend static_backend"]
    upload = sections["backend upload_backend"]
    start = upload.index('.if streq("${HAPROXY_BALANCE}",source)')
    assert upload[start + 1 : start + 6] == [
        *("balance source", "hash-type consistent"),
        *(".else", "balance leastconn", ".endif"),
    ]
    assert "source" in VARIABLES["HAPROXY_BALANCE"].choices
