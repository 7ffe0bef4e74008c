"""The servers behind the load balancer, and whether each takes requests.

The setting SERVERS names them; it sends requests to no other address. Without it this server is
the only one.
"""

import http.client
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from django.conf import settings

from ops.recent import Recent

# How long a server may take to say whether it is ready.
PROBE_SECONDS = 1.0
# How long the answers are kept.
KEEP_SECONDS = 1.0

UP, DRAINING, DOWN = "up", "draining", "down"
# What load balancers take the answers of /readyz for.
STATES = {200: UP, 404: DRAINING}


@dataclass(frozen=True)
class ServerEntry:
    """One entry of SERVERS, such as set1=server1:7999."""

    name: str
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "ServerEntry":
        """Read an entry, whose form the environment's check has seen to."""
        name, _, address = text.partition("=")
        host, _, port = address.rpartition(":")
        return cls(name, host.strip("[]"), int(port))


@dataclass(frozen=True)
class Found:
    """A server's state; `detail` says why it is down."""

    server: ServerEntry
    state: str
    detail: str = ""


def look() -> list[Found]:
    """Ask all servers at once; this takes PROBE_SECONDS at most."""
    servers = [ServerEntry.parse(text) for text in settings.SERVERS] or [
        ServerEntry(settings.PROFILE)
    ]
    probes = {server: begin_probe(server) for server in servers if not is_this(server)}
    wait(probes.values(), timeout=PROBE_SECONDS)
    return [end_probe(server, probes.get(server)) for server in servers]


def is_this(server: ServerEntry) -> bool:
    """Tell whether the server is the one that this code runs on.

    It answers, as one can see, and asking itself would take a second worker.
    """
    return server.name == settings.PROFILE


def begin_probe(server: ServerEntry) -> "Future[Found]":
    """Ask a server in a thread; one that is still asked since the last look is not asked again."""
    running = _running.get(server)
    if running is None or running.done():
        running = _running[server] = _threads.submit(probe, server)
    return running


def end_probe(server: ServerEntry, answer: "Future[Found] | None") -> Found:
    """Return what is known of a server by now."""
    if answer is None:
        return Found(server, DRAINING if settings.DRAIN_FILE.exists() else UP)
    if answer.done():
        return answer.result()
    return Found(server, DOWN, f"no answer within {PROBE_SECONDS:g} s")


def probe(server: ServerEntry) -> Found:
    """Ask a server's /readyz as the load balancer does."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except TimeoutError:
        return Found(server, DOWN, f"no answer within {PROBE_SECONDS:g} s")
    except (OSError, http.client.HTTPException):
        return Found(server, DOWN, "not reached")
    finally:
        connection.close()
    state = STATES.get(status, DOWN)
    return Found(server, state, f"/readyz answers {status}" if state == DOWN else "")


# A name that the name server is slow about cannot be given up; its thread is left alone meanwhile.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="servers")
_running: "dict[ServerEntry, Future[Found]]" = {}

RECENT = Recent(look, seconds=KEEP_SECONDS)
