"""What a server, or the site, answers; and whether that is what its release has to answer."""

from __future__ import annotations

import re
import socket
import ssl
from http.client import HTTPConnection, HTTPException
from typing import Any

from ..common.outputs import fields
from ..docker import address

# How long an answer may take.
SECONDS = 10
TITLE = re.compile(r"<title>([^<]*)</title>", re.IGNORECASE)
# The PROXY protocol, of a connection that is the proxy's own.
PROXY_HEADER = b"PROXY UNKNOWN\r\n"
HEALTH = "/healthz"
PROFILE = "/profile/"
# Whatever else is down, a release that answers these serves.
SERVES = ("/readyz", PROFILE, "/")
# Requested twice of a new release: the second round meets warm workers.
WHOLE = ("/readyz", HEALTH, PROFILE, "/")


def get(site: address.Site, host: str, path: str = PROFILE) -> tuple[int, str]:
    """Ask the site once, over a connection of its own; status 0 means no answer."""
    status, body = _get(site, host, path)
    if status == 0 and site.proxy_protocol:
        return _get(site, host, path, PROXY_HEADER)
    return status, body


def _get(site: address.Site, host: str, path: str, before: bytes = b"") -> tuple[int, str]:
    connection = HTTPConnection(site.address, site.port, timeout=SECONDS)
    try:
        connection.sock = _connected(site, before)
        connection.request("GET", path, headers={"Host": host, "Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(20_000).decode(errors="replace")
    except (OSError, HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def _connected(site: address.Site, before: bytes) -> socket.socket:
    """Return a connection to the site, on which these bytes came before TLS or the request."""
    connection = socket.create_connection((site.address, site.port), timeout=SECONDS)
    connection.sendall(before)
    if not site.tls:
        return connection
    # Asked by its address on this machine; the certificate is for the name that visitors use, and
    # whether it is a good one is checked elsewhere (haproxy/certificates).
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def down(body: str) -> dict[str, str]:
    """Return the components that /healthz calls down, each with what is wrong with it."""
    components = fields(body).get("components")
    return {
        name: str(line.get("error", "down"))
        for name, line in (components.items() if isinstance(components, dict) else ())
        if isinstance(line, dict) and line.get("status") != "up"
    }


def problem(path: str, answer: dict[str, Any], release: str, ailing: frozenset[str]) -> str:
    """Return what is wrong with a server's own answer; nothing when it is right.

    Args:
        path: the requested path.
        answer: the answer's `status`, 0 for none, and `body`.
        release: what /profile/ has to name, where it names one.
        ailing: the components that were down before this release came.
    """
    status, body = answer["status"], str(answer["body"])
    if path == HEALTH and status == 503 and (components := down(body)):
        new = [f"{name} ({error})" for name, error in components.items() if name not in ailing]
        return f"{path} reports as down what was up before: {', '.join(new)}" if new else ""
    must_be_200 = path != "/"
    if status == 0 or status >= 500 or (must_be_200 and status != 200):
        return f"{path} answers {status or 'nothing'}: {said(body)}"
    shown = fields(body) if path == PROFILE else {}
    if shown.get("release", release) != release:
        return f"it answers as release {shown['release']}, not {release}"
    return ""


def said(body: str) -> str:
    """Return what an error's answer says, of a page its title."""
    body = body.strip()
    # Django's report in plain text, with DEBUG on, quotes templates that have a title too.
    if body.startswith("<") and (title := TITLE.search(body)):
        return title[1].strip()
    return str(fields(body).get("detail") or body.partition("\n\n")[0][:300])
