"""How long containers took to stop: they drain themselves when they are told to end."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stops:
    """The seconds from each signal to the container's end, in the order of the ends."""

    seconds: list[float] = field(default_factory=list)


@contextmanager
def watched_stops(project: str) -> Iterator[Stops]:
    """Watch a Compose project's containers for the time of a `with` block.

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
            said, _ = process.communicate()
            stops.seconds += stop_seconds(said.splitlines())


def stop_seconds(lines: Iterable[str]) -> list[float]:
    """Return how long each container lived on after the first signal that it was sent.

    Args:
        lines: the engine's events, one JSON object each. A container that ends by itself does not
            count.
    """
    told: dict[str, int] = {}
    seconds = []
    for line in lines:
        event = json.loads(line)
        container, now = event["Actor"]["ID"], int(event["timeNano"])
        if event["Action"] == "kill":
            told.setdefault(container, now)
        elif container in told:
            seconds.append((now - told.pop(container)) / 1e9)
    return seconds
