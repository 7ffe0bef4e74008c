"""How long containers take to stop, since they drain before they end."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stops:
    """The seconds from the stop signal to the end of each container, in the order of the ends."""

    seconds: list[float] = field(default_factory=list)


@contextmanager
def watched_stops(project: str) -> Iterator[Stops]:
    """Watch the containers of a Compose project during the block.

    https://docs.docker.com/reference/cli/docker/system/events/
    """
    command = ["docker", "events", "--format", "json", "--filter", "type=container"]
    command += ["--filter", f"label=com.docker.compose.project={project}"]
    command += ["--filter", "event=kill", "--filter", "event=die"]
    stops = Stops()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield stops
        finally:
            process.terminate()
            output, _ = process.communicate()
            stops.seconds += stop_seconds(output.splitlines())


def stop_seconds(lines: Iterable[str]) -> list[float]:
    """Return the seconds from the first signal to the end of each container.

    Args:
        lines: events of the engine as JSON. Containers that end without a signal do not count.
    """
    signalled: dict[str, int] = {}
    seconds = []
    for line in lines:
        event = json.loads(line)
        container, now = event["Actor"]["ID"], int(event["timeNano"])
        if event["Action"] == "kill":
            signalled.setdefault(container, now)
        elif container in signalled:
            seconds.append((now - signalled.pop(container)) / 1e9)
    return seconds
