"""The lock of the stack, and the volume with its owner and record."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ops.environment import clone
from tests.unit.scripted.client import CREATE, RUN, RefusedError
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME

VOLUME = f"{NAME}_stackctl"
PROJECT_LABEL = f"com.docker.compose.project={NAME}"


class LockVolume(ABC):
    """The container that is the lock, and the volume that it mounts."""

    def __init__(self, root: Path) -> None:
        """Begin without lock and volume."""
        # Files of each volume, labels of the volume, and labels of each lock container.
        self.volumes: dict[str, dict[str, str]] = {}
        self.volume_labels: list[str] = []
        self.locks: dict[str, dict[str, str]] = {}
        # The project folder in the engine, and the folders in the container labels.
        self.clone = self.engine_root = str(root)
        self.folders = [str(root)]
        # Containers that ended and were not removed.
        self.left: list[str] = []

    @abstractmethod
    def step(self, name: str) -> Reply | None:
        """Record a change; return its failure if a test sets one."""

    def run_alone(self, argv: list[str], stdin: bytes) -> Reply:
        """Run a container that mounts the volume."""
        try:
            given = RUN.parse_args(argv)
        except RefusedError as error:
            return Reply(125, err=f"docker: {error}")
        if (given.network, given.log_driver, given.first) != ("none", "none", "haproxy:3.0"):
            return Reply(125, err=f"docker: no such network, log driver or image: {given}")
        for source in (volume.split(":")[0] for volume in given.volume):
            if source.startswith("/") and not Path(source).is_dir():
                return Reply(125, err=f"docker: bind source path does not exist: {source}")
        if given.name in self.locks:
            return Reply(125, err=f'Conflict. The container name "/{given.name}" is already in use')
        if given.rest[2:3] == ["sh"] and given.interactive:
            return self.stored(given.rest[3], stdin.decode())
        if given.entrypoint != "sh" or given.rest[:1] != ["-c"] or len(given.rest) != 2:
            return Reply(127, err=f"{given.entrypoint}: {given.rest}: not found")
        if given.name:
            fields = dict(
                label.removeprefix("stackctl.").partition("=")[::2] for label in given.label
            )
            if reply := self.step(f"lock {fields.get('command')}"):
                return reply
            # Without its input, the script of the lock ends at once.
            if given.interactive:
                self.locks[given.name] = fields
        if not given.rm:
            self.left.append(given.name)
        return Reply(out=self.printed(given, given.rest[1]), err="" if given.quiet else "Pulling")

    def printed(self, given: Any, script: str) -> str:
        """Return the output of a script that reads the mounts."""
        mounts = {}
        for volume in given.volume:
            source, target, *_ = volume.split(":")
            mounts[target] = source
        # The engine creates a missing volume.
        files = self.volumes.setdefault(mounts.get(given.workdir, ""), {})
        out = ""
        if "mountinfo" in script:
            source = mounts.get(clone.MOUNT, "").replace(self.clone, self.engine_root)
            out = f"1 2 0:1 {source} {clone.MOUNT} ro - ext4 /dev/sda ro\n"
            out += f"owner {files.get('owner', '').strip()}\n"
        for name in ("releases.jsonl", "backup.json"):
            if name in script:
                out += files.get(name, "")
        return f"{out}held\n" if "echo held" in script else out

    def listed(self, argv: list[str]) -> Reply:
        """Answer `docker ps` with a filter and a format."""
        match argv:
            case ["--filter", rule, "--format", form] if rule.startswith("name=^/"):
                labels = self.locks.get(rule[7:].removesuffix("$"), {})
                values = {f"stackctl.{name}": text for name, text in labels.items()}
                return Reply(out=formatted(form, values) + "\n" if labels else "")
            case ["--all", "--filter", rule, "--format", form] if rule == f"label={PROJECT_LABEL}":
                label = "com.docker.compose.project.working_dir"
                lines = [formatted(form, {label: folder}) for folder in self.folders]
                return Reply(out="".join(f"{line}\n" for line in lines))
        return Reply()

    def create_volume(self, argv: list[str]) -> Reply:
        """Create a volume; an existing one stays."""
        try:
            given = CREATE.parse_args(argv)
        except RefusedError as error:
            return Reply(125, err=f"docker: {error}")
        self.volumes.setdefault(given.rest, {})
        self.volume_labels = given.label
        return Reply(out=given.rest)

    def release_lock(self) -> None:
        """Release the lock: its holder closed its input, and `--rm` removes the container."""
        self.locks = {name: labels for name, labels in self.locks.items() if name in self.left}

    def store(self, name: str, text: str) -> Reply:
        """Write a file of the volume."""
        whole = [line for line in text.splitlines() if line.endswith("}")]
        done = f" {json.loads(whole[-1])['outcome']}" if whole else ""
        if reply := self.step(f"write {name.partition('.')[0]}{done}"):
            return reply
        self.volumes[VOLUME][name] = text
        return Reply()

    def stored(self, name: str, text: str) -> Reply:
        """Write a file of the volume that no lock protects."""
        if reply := self.step(f"write {name.partition('.')[0]}"):
            return reply
        self.volumes[VOLUME][name] = text
        return Reply()

    def record(self) -> list[tuple[str, str, str]]:
        """Return each line of the record: action, release and outcome."""
        text = self.volumes[VOLUME].get("releases.jsonl", "")
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [(line["action"], line["release"], line["outcome"]) for line in lines]


def formatted(form: str, labels: dict[str, str]) -> str:
    """Apply a format of the docker client to labels."""
    return re.sub(r'\{\{\.Label "([^"]*)"\}\}', lambda result: labels.get(result[1], ""), form)
