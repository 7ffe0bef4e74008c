"""SLOW_PATHS: pages with a longer time limit and workers of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .fault import Fault, InvalidValueError
from .variable import Value

# Of one server, both pools together: the databases have connections for as many (max_connections).
MAX_WORKERS: Final = 64

# nginx and HAProxy compare it as it is, so nothing that either could read in another way.
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/")
# What nginx answers itself, and what has to answer while all slow workers are busy.
_OTHERS: Final = ("/static/", "/media/", "/metrics/", "/livez/", "/readyz/", "/healthz/")


def prefix(text: str) -> None:
    """Accept the beginning of a path, such as /reports/."""
    if not _PREFIX.fullmatch(text):
        raise InvalidValueError(
            f"{text[:80]!r} is not the beginning of a path",
            "Write it with a / at both ends, of letters, digits and . _ ~ -: /reports/.",
        )
    if text.startswith(_OTHERS):
        raise InvalidValueError(
            f"{text[:80]!r} has static files, uploads, metrics or a health check",
            "Remove it: only pages of your apps can be slow pages.",
        )


def faults(values: Mapping[str, Value], broken: set[str]) -> list[Fault]:
    """Return what is wrong with the pool of slow workers, beyond each variable's own faults."""
    if not values["SLOW_PATHS"]:
        return []
    result = []
    slow, request = values["SLOW_REQUEST_SECONDS"], values["REQUEST_SECONDS"]
    if isinstance(slow, int) and isinstance(request, int) and slow < request:
        problem = f"it is {slow}, less than REQUEST_SECONDS, which is {request}"
        hint = "Set it higher, or remove SLOW_PATHS."
        result.append(Fault("SLOW_REQUEST_SECONDS", problem, hint))
    workers, others = values["SLOW_CONCURRENCY"], values["WEB_CONCURRENCY"]
    if isinstance(workers, int) and isinstance(others, int) and workers + others > MAX_WORKERS:
        problem = f"{workers} and WEB_CONCURRENCY ({others}) are more than {MAX_WORKERS} workers"
        hint = f"Lower one of them: a server has at most {MAX_WORKERS}."
        result.append(Fault("SLOW_CONCURRENCY", problem, hint))
    # remove_nginx-balancer: begin
    if values.get("NGINX_BALANCER") == "1" and "NGINX_BALANCER" not in broken:
        problem = "it is 1, and SLOW_PATHS is set: that balancer has one time limit for all pages"
        hint = "Remove one of them; HAProxy has a limit for slow pages."
        result.append(Fault("NGINX_BALANCER", problem, hint))
    # remove_nginx-balancer: end
    return result
