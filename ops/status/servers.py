"""The servers behind the load balancer, and whether each takes requests.

The setting SERVERS names them; it sends requests to no other address. Without it this server is
the only one.
"""

import http.client
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from django.conf import settings

from ops.recent import Recent

PROBE_SECONDS = 1.0
# Each server is asked once a second, however many pages are open.
KEEP_SECONDS = 1.0

UP, DRAINING, DOWN = "up", "draining", "down"
# By the status of /readyz, as load balancers read it.
STATES = {200: UP, 404: DRAINING}


@dataclass(frozen=True)
class ServerEntry:
    """One entry of SERVERS, such as set1=server1:7999."""

    name: str
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "ServerEntry":
        """Read an entry, whose form the environment check has validated."""
        name, _, address = text.partition("=")
        host, _, port = address.rpartition(":")
        return cls(name, host.strip("[]"), int(port))


@dataclass(frozen=True)
class ServerHealth:
    """A server's state; `detail` says why it is down."""

    server: ServerEntry
    state: str
    detail: str = ""


def check_servers() -> list[ServerHealth]:
    """Check all servers in parallel; this takes PROBE_SECONDS at most."""
    servers = [ServerEntry.parse(text) for text in settings.SERVERS] or [
        ServerEntry(settings.PROFILE)
    ]
    probes = {server: begin_probe(server) for server in servers if not is_this(server)}
    wait(probes.values(), timeout=PROBE_SECONDS)
    return [end_probe(server, probes.get(server)) for server in servers]


def is_this(server: ServerEntry) -> bool:
    """Return whether the server is the one that this code runs on.

    It answers already, and a request to itself would take a second worker.
    """
    return server.name == settings.PROFILE


def begin_probe(server: ServerEntry) -> "Future[ServerHealth]":
    """Probe a server in a thread, unless the probe of the last check is still running."""
    running = _running.get(server)
    if running is None or running.done():
        running = _running[server] = _threads.submit(probe, server)
    return running


def end_probe(server: ServerEntry, answer: "Future[ServerHealth] | None") -> ServerHealth:
    """Return what is known of a server by now."""
    if answer is None:
        return ServerHealth(server, DRAINING if settings.DRAIN_FILE.exists() else UP)
    if answer.done():
        return answer.result()
    return ServerHealth(server, DOWN, f"no answer within {PROBE_SECONDS:g} s")


def probe(server: ServerEntry) -> ServerHealth:
    """Request a server's /readyz as the load balancer does."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except TimeoutError:
        return ServerHealth(server, DOWN, f"no answer within {PROBE_SECONDS:g} s")
    except (OSError, http.client.HTTPException):
        return ServerHealth(server, DOWN, "not reached")
    finally:
        connection.close()
    state = STATES.get(status, DOWN)
    return ServerHealth(server, state, f"/readyz answers {status}" if state == DOWN else "")


# A slow name lookup cannot be cancelled, so it keeps its thread until it ends.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="servers")
_running: "dict[ServerEntry, Future[ServerHealth]]" = {}

RECENT = Recent(check_servers, seconds=KEEP_SECONDS)
