"""The data types of the scripted engine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """Exit code and output of a program."""

    code: int = 0
    out: str = ""
    err: str = ""
    # Binary output.
    data: bytes = b""


@dataclass
class Behaviour:
    """The behaviour of the containers of a release."""

    healthy_after: float = 1.0
    # `unhealthy`, or `starting` forever.
    becomes: str = "healthy"
    # It ends by itself, and Docker restarts it.
    ends: bool = False
    # The result of HAProxy health checks.
    check: str = "L7OK"
    # The share of requests that it answers with 500.
    errors: float = 0.0
    # Wrong responses by path.
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    # The release in its response of /profile/.
    release: str = ""
    log: str = "ready"


@dataclass
class Container:
    """One container."""

    id: str
    service: str
    image: str
    environ: dict[str, str]
    hash: str
    address: str
    started: float
    port: int = 0
    status: str = "running"
    exit_code: int = 0
    restarts: int = 0
    out_of_memory: bool = False
    # Its health, if a test sets it.
    health: str = ""
    # A user stopped it; the engine has an event.
    stopped: bool = False
    # It is stopping; its drain file exists.
    stopping: bool = False
    policy: str = "unless-stopped"
    finished: str = "-"
    # Output of its latest health check.
    output: str = ""
    name: str = ""

    def health_at(self, moment: float, behaviour: Behaviour) -> str:
        """Return its health at a moment."""
        if self.health:
            return self.health
        return behaviour.becomes if moment >= self.started + behaviour.healthy_after else "starting"


def hash_of(service: dict[str, Any]) -> str:
    """Return the fingerprint of a service's configuration."""
    return hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()
