"""What the scripted engine is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """How a program ends, and what it prints."""

    code: int = 0
    out: str = ""
    err: str = ""
    # What it prints where that is data.
    data: bytes = b""


@dataclass
class Behaviour:
    """What the containers of a release do."""

    healthy_after: float = 1.0
    # `unhealthy`, or `starting` for ever.
    becomes: str = "healthy"
    # It ends by itself, and Docker starts it again.
    ends: bool = False
    # How HAProxy's checks of it end.
    check: str = "L7OK"
    # The share of visitors' requests that it answers with 500.
    errors: float = 0.0
    # What it answers by path, where that is not what it should.
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    # The release that it says it is.
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
    # Its health, where a test says it.
    health: str = ""
    # A user stopped it, which the engine remembers.
    stopped: bool = False
    # It has begun to stop, which it writes into a file.
    stopping: bool = False
    policy: str = "unless-stopped"
    finished: str = "-"
    # What its latest health check printed.
    output: str = ""

    def health_at(self, moment: float, behaviour: Behaviour) -> str:
        """Return how its health check is at a moment."""
        if self.health:
            return self.health
        return behaviour.becomes if moment >= self.started + behaviour.healthy_after else "starting"


def hash_of(service: dict[str, Any]) -> str:
    """Return the fingerprint of a service's configuration."""
    return hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()
