#!/usr/bin/env python3
"""Starts nginx as the load balancer, and has it know where each server is.

A recreated container may have another address, and nginx looks names up only when it
reads its configuration. So the servers' names are looked up each second, in Docker's own name
server, and where one has moved nginx reads its list again (a reload). Running requests finish then,
but idle connections of clients are closed; so for some seconds before it every connection ends with
its answer, and none is left idle.

A server that stops has no address any more. It stays in the list at its last one: nginx itself
finds that it does not answer, without a reload, and sends the request to the next one.

A server that hangs accepts connections and never answers. Each second every server's nginx is
asked; one that is silent twice is marked down in the list. Its relay ends (relay.conf), and with it
the requests for pages that wait there: nginx sends them to the next server.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

FOLDER = Path(__file__).resolve().parent
LIST = Path("/run/nginx-balancer/servers.conf")
# While it exists, connections end with their answers (nginx.conf).
MOVING = LIST.with_name("moving")
RUN = LIST.parent
# Where nginx listens in each server's container.
PORT = 7999
NGINX = ("nginx", "-e", "/dev/stderr", "-c")
POLL_SECONDS = 1.0
# nginx in each server answers this path itself, at once. A server that is silent this often hangs.
CHECK_PATH = "/readyz/files"
CHECK_SECONDS = 1.0
CHECKS = 2
# Longer than keepalive_timeout: what was idle is closed by then.
IDLE_SECONDS = 6.0
# Until the former process does not answer on connections any more.
HANDOVER_SECONDS = 2.0
# The names of NGINX_BALANCE, as nginx has them; the first is the default.
METHODS = {"round_robin": "", "least_conn": "least_conn;", "ip_hash": "ip_hash;"}
# After one failed try a server is left alone for this long. A try of one that is gone costs a
# request proxy_connect_timeout at most, never its answer.
SERVER_OPTIONS = "max_fails=1 fail_timeout=5s"
# When all are left alone, nginx would answer 502 itself: each is tried then nevertheless.
# ip_hash allows no backup: https://nginx.org/en/docs/http/ngx_http_upstream_module.html#backup
LAST_RESORT = "backup max_fails=0"
# nginx wants a server in its list, also before any is known.
PLACEHOLDER = "server 127.0.0.1:1 down;"


@dataclass
class Servers:
    """Where each server is, as far as it is known."""

    # Host and port by name.
    names: Mapping[str, tuple[str, int]]
    # Address and port by name.
    addresses: dict[str, str] = field(default_factory=dict)
    # The names of those that hang.
    hanging: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)
    moved: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def numbered(cls, count: int) -> Servers:
        """Return server1, server2 and so on, as docker compose names them."""
        return cls({f"server{n}": (f"server{n}", PORT) for n in range(1, count + 1)})

    def resolved(self, name: str, address: str) -> None:
        """Note where a server is now; no other one can be there any more."""
        place = f"{address}:{self.names[name][1]}"
        with self.lock:
            if self.addresses.get(name) == place:
                return
            kept = {other: known for other, known in self.addresses.items() if known != place}
            self.addresses = {**kept, name: place}
            self.moved.set()

    def note_hang(self, name: str, *, hangs: bool) -> None:
        """Note whether a server hangs."""
        with self.lock:
            known = self.hanging
            self.hanging = known | {name} if hangs else known - {name}
            if self.hanging != known:
                self.moved.set()

    def block(self, method: str) -> str:
        """Return nginx's `upstream` blocks, the servers in order."""
        with self.lock:
            known = [name for name in self.names if name in self.addresses]
            up = [self.addresses[name] for name in known if name not in self.hanging]
            down = [self.addresses[name] for name in known if name in self.hanging]
        relays = [f"unix:{socket_of(name)}" for name in self.names]
        return upstream("servers", method, up, down) + upstream("relays", method, relays)


def upstream(group: str, method: str, up: Sequence[str], down: Sequence[str] = ()) -> str:
    """Return one `upstream` block."""
    servers = [f"server {place} {SERVER_OPTIONS};" for place in up]
    if method != "ip_hash":
        servers += [f"server {place} {LAST_RESORT};" for place in up]
    servers += [f"server {place} down;" for place in down]
    lines = [line for line in (METHODS[method], *(servers or [PLACEHOLDER])) if line]
    return "\n".join((f"upstream {group} {{", *(f"    {line}" for line in lines), "}", ""))


def socket_of(name: str) -> Path:
    """Return where a server's relay listens."""
    return RUN / f"{name}.sock"


class Relay:
    """The process that passes GETs to one server (relay.conf)."""

    def __init__(self, name: str, host: str, port: int) -> None:
        """Write its configuration and start it."""
        self.socket = socket_of(name)
        self.config = RUN / f"{name}.conf"
        template = (FOLDER / "relay.conf").read_text(encoding="utf-8")
        text = template.replace("@NAME@", name).replace("@ADDRESS@", f"{host}:{port}")
        text = text.replace("@SECONDS@", os.environ["INNER_SECONDS"])
        self.config.write_text(text, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it unless it runs."""
        if self.process is None or self.process.poll() is not None:
            self.socket.unlink(missing_ok=True)
            self.process = subprocess.Popen((*NGINX, str(self.config)))  # noqa: S603 (our own words)

    def end(self) -> None:
        """End it at once, and every request that it has."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def is_silent(place: str) -> bool:
    """Return whether a server accepts a connection and is silent."""
    host, _, port = place.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CHECK_SECONDS)
    try:
        connection.request("GET", CHECK_PATH, headers={"Host": "balancer"})
        connection.getresponse().read()
    except TimeoutError:
        # Without a connection it is down, and nginx itself detects that.
        return connection.sock is not None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return False


def look_up(servers: Servers, name: str) -> None:
    """Ask the name server once; that it knows nothing, or does not answer, changes nothing."""
    host, port = servers.names[name]
    try:
        addresses = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return
    servers.resolved(name, str(addresses[0][4][0]))


def keep_looking(servers: Servers, name: str, relay: Relay) -> None:
    """Follow one server for ever; a slow answer holds no other one up."""
    silent = 0
    while True:
        look_up(servers, name)
        place = servers.addresses.get(name)
        silent = silent + 1 if place and is_silent(place) else 0
        if silent >= CHECKS:
            servers.note_hang(name, hangs=True)
            relay.end()
        elif not silent:
            servers.note_hang(name, hangs=False)
            relay.start()
            time.sleep(POLL_SECONDS)


def write(servers: Servers, method: str) -> None:
    """Write the list, whole or not at all."""
    servers.moved.clear()
    fresh = LIST.with_suffix(".new")
    fresh.write_text(servers.block(method), encoding="utf-8")
    fresh.replace(LIST)


def keep_current(servers: Servers, method: str, nginx: subprocess.Popen[bytes]) -> None:
    """Have nginx read the list again, for ever, when a server has moved."""
    while True:
        servers.moved.wait()
        MOVING.touch()
        time.sleep(IDLE_SECONDS)
        write(servers, method)
        nginx.send_signal(signal.SIGHUP)
        time.sleep(HANDOVER_SECONDS)
        if not servers.moved.is_set():
            MOVING.unlink(missing_ok=True)


def main() -> int:
    """Run nginx until it ends; SIGTERM lets it finish what runs."""
    method = os.environ.get("NGINX_BALANCE") or "round_robin"
    if method not in METHODS:
        allowed = ", ".join(METHODS)
        print(f"NGINX_BALANCE: {method!r} is none of: {allowed}", file=sys.stderr)
        return 2
    servers = Servers.numbered(int(os.environ["SERVER_COUNT"]))
    for name in servers.names:
        look_up(servers, name)
    write(servers, method)
    relays = {name: Relay(name, *address) for name, address in servers.names.items()}
    # On QUIT and on a reload running requests have this long.
    grace = f"worker_shutdown_timeout {os.environ['BALANCER_GRACE_SECONDS']}s;"
    nginx = subprocess.Popen((*NGINX, str(FOLDER / "nginx.conf"), "-g", grace))  # noqa: S603 (our own words)

    def stop(number: int, frame: FrameType | None) -> None:
        nginx.send_signal(signal.SIGQUIT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for name in servers.names:
        watch = (servers, name, relays[name])
        threading.Thread(target=keep_looking, args=watch, daemon=True).start()
    threading.Thread(target=keep_current, args=(servers, method, nginx), daemon=True).start()
    return nginx.wait()


if __name__ == "__main__":
    sys.exit(main())
