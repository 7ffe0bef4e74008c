"""gunicorn in a server container, in uWSGI's place: the same workers and limits (uwsgi/*.ini).

https://docs.gunicorn.org/en/stable/settings.html
"""

import os
from pathlib import Path
from typing import Any

chdir = str(Path(__file__).resolve().parents[2])
wsgi_app = "ops.wsgi_http:application"

# One process a request, no threads: the default worker class.
workers = int(os.environ["WEB_CONCURRENCY"])

# Loaded once and then forked, as uWSGI does it, so that workers share what is made for all of them
# (ops/breaker.py). Not where the code is edited while it runs: each worker imports it again.
preload_app = "--reload" not in os.environ.get("GUNICORN_CMD_ARGS", "")

# harakiri: a request that takes longer is cut off together with its worker. gunicorn checks once a
# second, and the worker has to end: up to 2 s more in all, as README.md here says.
timeout = int(os.environ["REQUEST_SECONDS"])
# On TERM, running requests have as long.
graceful_timeout = timeout

# Fresh workers now and then, not all at once, so that a leak never becomes an outage. gunicorn has
# no limits by age and memory, as uWSGI has.
max_requests = 10000
max_requests_jitter = 1000

# What a worker touches to show that it lives: in memory, so that a busy disk kills none.
worker_tmp_dir = "/dev/shm"  # noqa: S108

# nginx has its own, smaller limits, and may write a URL longer than it came.
limit_request_line = 0
limit_request_fields = 1000
limit_request_field_size = 0
# Django alone says whether a request came by https, from the header that the settings name.
secure_scheme_headers: dict[str, str] = {}
# No header of a client becomes a variable of another name.
forwarder_headers = ""

loglevel = "warning"
# For `gunicornc`, which nothing here uses.
control_socket_disable = True


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest place that is free, 1 and up, as uWSGI numbers its own."""
    used = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in range(1, len(used) + 2) if place not in used)


def post_fork(server: Any, worker: Any) -> None:
    """Have the worker count in its place's files, and let a debugger attach to the first one."""
    # Only now: the application is not loaded yet where it is edited.
    from ops.metrics import processes

    processes.take_place(worker.place)
    if not preload_app and worker.place == 1 and (port := os.environ.get("DEBUGGER_PORT")):
        # As uwsgi/reload_on_edit.py: one process alone can have the port.
        import debugpy

        # All addresses of the container: docker publishes one on the host.
        debugpy.listen(("0.0.0.0", int(port)))  # noqa: S104


def worker_abort(worker: Any) -> None:
    """End a worker whose request takes too long, and say where it was.

    gunicorn itself would answer 500 first; nginx has an answer for a server that is gone.
    """
    worker.log.critical("A request took longer than %d s. It was in:", timeout, stack_info=True)
    os._exit(1)
