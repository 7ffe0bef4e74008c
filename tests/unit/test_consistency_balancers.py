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
