"""gunicorn's processes with uvicorn in each: as variants/gunicorn, for an ASGI application.

https://docs.gunicorn.org/en/stable/settings.html https://uvicorn.dev/settings/
"""

import os
import signal
from pathlib import Path
from runpy import run_path
from typing import Any

from uvicorn_worker import UvicornWorker

SAME = run_path(str(Path(__file__).resolve().parents[1] / "gunicorn/config.py"))
globals().update({name: value for name, value in SAME.items() if name[0] != "_"})

wsgi_app = "ops.asgi_http:application"
# A fresh worker would end the streams of the former one.
max_requests = max_requests_jitter = 0


class worker_class(UvicornWorker):  # noqa: N801 (the setting)
    """A worker whose connections are nginx's."""

    CONFIG_KWARGS = {
        "loop": "asyncio",
        "http": "h11",
        "ws": "websockets-sansio",
        # ops/asgi_http.py reads what nginx says of the client.
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        # The default of the library: 16 MiB, uvicorn's, could fill the memory with few WebSockets.
        "ws_max_size": 2**20,
        # A WebSocket is never silent for as long as nginx and HAProxy wait.
        "ws_ping_interval": SAME["timeout"] / 2,
        "ws_ping_timeout": SAME["timeout"] / 2,
        # What runs longer is cancelled. Streams have ended before (ops/asgi_http.py), but not
        # where the code is edited while it runs.
        "timeout_graceful_shutdown": SAME["timeout"] if SAME["preload_app"] else 1,
    }


def worker_int(worker: Any) -> None:
    """End a worker whose code was edited: gunicorn's own way does not reach uvicorn."""
    os.kill(worker.pid, signal.SIGTERM)
