"""An extension of supervisord that ends it when one of its programs is FATAL.

A container whose nginx or uWSGI cannot be restarted is of no use: better that it ends and the
restart policy, or the load balancer, takes over. http://supervisord.org/events.html
"""

import os
import signal
import sys

from supervisor.events import ProcessStateFatalEvent, subscribe
from supervisor.supervisord import Supervisor


def install(supervisord: Supervisor) -> object:
    """Subscribe to the event; return what has the extension's remote methods: none."""
    subscribe(ProcessStateFatalEvent, end)
    return object()


def end(event: ProcessStateFatalEvent) -> None:
    """Say which program it was, and have supervisord stop all programs and end."""
    sys.stderr.write(
        f"supervisor: {event.process.group.config.name} cannot be started, so this container "
        "ends. The lines above say why.\n"
    )
    os.kill(os.getpid(), signal.SIGTERM)
