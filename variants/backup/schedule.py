"""Starts `./stackctl backup --scheduled` once a day, in a container that has the clone at its path.

stackctl notes each backup in the stack's volume: one that was missed is made at the start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CLONE, RECORD = "/srv/clone", Path("/srv/stackctl/backup.json")
SOCKET = "/var/run/docker.sock"
CHECK_SECONDS = 30
PYTHON = "/opt/venv/bin/python"


def is_due(now: datetime, at: str, latest: float) -> bool:
    """Return whether no backup was tried since the latest time of day at which one is due.

    Args:
        now: the present time.
        at: the time of day in UTC, as 03:00.
        latest: when one was last tried, in seconds since 1970; 0 for never.
    """
    hour, _, minute = at.partition(":")
    moment = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    if moment > now:
        moment -= timedelta(days=1)
    return latest < moment.timestamp()


def latest() -> float:
    """Return when stackctl last noted a backup, good or failed."""
    try:
        noted = json.loads(RECORD.read_text(encoding="utf-8"))
        return max(float(noted.get(key) or 0) for key in ("succeeded", "failed"))
    except (OSError, ValueError, AttributeError):
        return 0.0


def command(container: dict[str, Any], group: int) -> list[str]:
    """Return the command that makes a backup.

    Args:
        container: this one, as `docker inspect` describes it.
        group: the owner of the engine's socket.
    """
    sources = {mount["Destination"]: mount["Source"] for mount in container["Mounts"]}
    clone = sources[CLONE]
    owner = Path(CLONE).stat()
    project = container["Config"]["Labels"]["com.docker.compose.project"]
    secrets = [
        source
        for target, source in sources.items()
        if target.startswith("/run/secrets/") and source != os.devnull
    ]
    return [
        *("docker", "run", "--rm", "--init", "--name", f"{project}-backup-run"),
        *("--user", f"{owner.st_uid}:{owner.st_gid}", "--group-add", str(group)),
        *("--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp"),  # noqa: S108 (of the container)
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--network", "none"),
        *("--volume", f"{SOCKET}:{SOCKET}", "--volume", f"{clone}:{clone}", "--workdir", clone),
        *(part for source in secrets for part in ("--volume", f"{source}:{source}:ro")),
        *("--env", f"LAYER={os.environ['LAYER']}", "--env", "PYTHONDONTWRITEBYTECODE=1"),
        *(container["Config"]["Image"], PYTHON, "-m", "tools.stackctl"),
        *("--project-name", project, "backup", "--scheduled"),
    ]


def main() -> None:
    """Wait, and make backups, until the container is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    at = os.environ["BACKUP_AT"]
    tried = 0.0
    print(f"a backup each day at {at} UTC", flush=True)
    while True:
        if is_due(datetime.now(UTC), at, max(tried, latest())):
            tried = time.time()
            inspect = ["docker", "inspect", os.uname().nodename]
            found = subprocess.run(inspect, check=True, capture_output=True, text=True)  # noqa: S603
            container = json.loads(found.stdout)[0]
            subprocess.run(command(container, Path(SOCKET).stat().st_gid), check=False)  # noqa: S603
        time.sleep(CHECK_SECONDS)


if __name__ == "__main__":
    main()
