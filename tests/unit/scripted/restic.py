"""restic in its container, and the places that have its backups."""

from __future__ import annotations

import argparse
import gzip
import json
import tarfile
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

from tests.unit.scripted.client import RefusedError, client
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME

if TYPE_CHECKING:
    from tests.unit.scripted.engine import Engine

RUN = client(
    "rm interactive init read-only",
    "network hostname name log-driver",
    "tmpfs cap-drop cap-add security-opt volume env mount",
    rest=argparse.REMAINDER,
)
SAVE = client("json quiet", "host tag", "exclude", rest="?")
FORGET = client("prune", "host group-by keep-last", rest="?")
# What restic says and ends with: https://restic.readthedocs.io/en/stable/075_scripting.html
_MISSING = "Fatal: repository does not exist: unable to open config file"
_WRONG = "Fatal: wrong password or no key found"
MISSING, WRONG = Reply(10, _MISSING, _MISSING), Reply(12, _WRONG, _WRONG)


@dataclass
class Snapshot:
    """One backup."""

    id: str
    host: str
    tag: str
    # Whole files by path.
    files: dict[str, bytes]
    excluded: list[str] = field(default_factory=list)


@dataclass
class Repository:
    """The backups in one place."""

    password: str
    snapshots: list[Snapshot] = field(default_factory=list)
    # The machines whose crashed backups left a lock.
    locks: set[str] = field(default_factory=set)


class Places:
    """The places, and how restic answers."""

    def __init__(self, engine: Engine) -> None:
        """Begin without backups."""
        self.engine = engine
        self.repositories: dict[str, Repository] = {}
        # Folders of this machine that exist.
        self.folders = {"/mnt/disk"}
        # What `restic backup` says of files that it could not read.
        self.unread: list[str] = []
        # The options and variables of each container, and its command.
        self.containers: list[tuple[Any, dict[str, str], list[str]]] = []
        self.locked_while_saving = False

    def docker(self, argv: list[str], stdin: bytes) -> Reply | None:
        """Answer the docker client; None if it is another command."""
        match argv:
            case ["info", "--format", "{{.Name}}"]:
                return Reply(out="machine_1\n")
            case ["build", "--quiet", "--tag", name, "variants/backup"]:
                if reply := self.engine.step("build restic"):
                    return reply
                self.engine.images[name] = "sha256:restic"
                return Reply()
            case ["rm", name] if name == f"{NAME}-backup":
                return Reply(1, err="cannot remove container: it is running, or there is none")
            case ["run", *options] if any(one.startswith(f"{NAME}-backup:") for one in options):
                return self.container(options, stdin)
        return None

    def container(self, options: list[str], stdin: bytes) -> Reply:
        """Run a container of restic's image."""
        try:
            given = RUN.parse_args(options)
        except RefusedError as error:
            return Reply(125, err=f"docker: {error}")
        if given.first not in self.engine.images:
            return Reply(125, err=f"docker: no such image: {given.first}")
        if given.name and self.engine.saving:
            words = f'Conflict. The container name "/{given.name}" is already in use by container'
            return Reply(125, err=words)
        environ: dict[str, str] = {}
        for one in given.env:
            name, equals, text = one.partition("=")
            environ[name] = text if equals else self.engine.environ[name]
        place = environ["RESTIC_REPOSITORY"]
        for mount in given.mount:
            described = dict(part.partition("=")[::2] for part in mount.split(","))
            if described["type"] == "bind" and described["target"] == place:
                place = described["source"]
                if place not in self.folders:
                    words = "docker: invalid mount config: bind source path does not exist"
                    return Reply(125, words, words)
        self.containers.append((given, environ, given.rest))
        program = given.rest
        if program[-2:-1] == ["--option"]:
            program = program[:-2]
        if reply := self.engine.step(f"restic {program[0 if program[0] == 'save' else 1]}"):
            return reply
        return self.restic(given, place, environ["RESTIC_PASSWORD"], program, stdin)

    def restic(
        self, given: Any, place: str, password: str, program: list[str], stdin: bytes
    ) -> Reply:
        """Run a command of restic."""
        if program == ["restic", "init"]:
            self.repositories[place] = Repository(password)
            return Reply()
        known = self.repositories.get(place)
        if known is None:
            return MISSING
        if known.password != password:
            return WRONG
        match program:
            case ["restic", "unlock"]:
                # Next to `docker-init` a lock's process could be one that runs.
                known.locks -= set() if given.init else {given.hostname}
                return Reply()
            case ["restic", "snapshots", "--no-lock", "--json"]:
                return Reply(out=json.dumps([self.listed(one) for one in known.snapshots][::-1]))
            case ["restic", "dump", *options, named, path]:
                return dumped(known, options, named, path)
        if known.locks:
            words = "Fatal: unable to create lock in backend: repository is already locked"
            return Reply(11, words, words)
        match program:
            case ["save", *options]:
                return self.save(known, given, options, stdin)
            case ["restic", "forget", *options]:
                return forget(known, options)
            case ["restic", "check", *_]:
                return Reply()
        return Reply(1, err=f"unknown command: {program}")

    def listed(self, one: Snapshot) -> dict[str, Any]:
        """Return a snapshot as restic prints it."""
        return {"id": one.id, "hostname": one.host, "tags": [one.tag], "time": one.tag}

    def save(self, known: Repository, given: Any, options: list[str], stdin: bytes) -> Reply:
        """Save the dump, which comes as an archive, and the files of the volumes."""
        self.locked_while_saving = bool(self.engine.locks)
        asked = SAVE.parse_args(options)
        files = {}
        with tarfile.open(fileobj=BytesIO(stdin)) as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                assert content
                data = content.read()
                if entry.name.endswith(".gz"):
                    data = gzip.decompress(data)
                files[f"/srv/dump/{entry.name.removesuffix('.gz')}"] = data
        for volume in given.volume:
            name, folder, *mode = volume.split(":")
            if name == f"{NAME}_media" and mode == ["ro"]:
                files |= {f"{folder}/{name}": data for name, data in self.engine.data.media.items()}
        number = f"{len(known.snapshots) + 1:08x}" + "f" * 56
        known.snapshots.append(Snapshot(number, asked.host, asked.tag, files, asked.exclude))
        size = sum(map(len, files.values()))
        summary = {
            **{"message_type": "summary", "snapshot_id": number},
            **{"total_bytes_processed": size, "data_added": 9 * size, "data_added_packed": 7},
        }
        lines = [
            *(json.dumps(error_of(words)) for words in self.unread),
            *("a warning of the program", json.dumps(summary)),
        ]
        return Reply(3 if self.unread else 0, err="\n".join(lines))


def error_of(words: str) -> dict[str, Any]:
    """Return the message about a file: `NAME: REASON`."""
    name, _, reason = words.partition(": ")
    return {"message_type": "error", "error": {"message": reason}, "item": f"/srv/files/{name}"}


def forget(known: Repository, options: list[str]) -> Reply:
    """Remove snapshots: one, or all but the latest of a host."""
    asked = FORGET.parse_args(options)
    mine = [one for one in known.snapshots if asked.host in (None, one.host)]
    if asked.rest:
        gone = [one for one in mine if one.id == asked.rest]
    else:
        gone = mine[: -int(asked.keep_last)] if asked.group_by == "host" else []
    known.snapshots = [one for one in known.snapshots if one not in gone]
    return Reply()


def dumped(known: Repository, options: list[str], named: str, path: str) -> Reply:
    """Print a file of a snapshot, or a folder as an archive."""
    identity, _, folder = named.partition(":")
    (found,) = [one for one in known.snapshots if one.id == identity]
    if not options:
        if path not in found.files:
            return Reply(1, err=f"Fatal: cannot dump file: path {path!r} not found in snapshot")
        return Reply(data=found.files[path])
    assert options == ["--archive", "tar"] and path == "/"
    raw = BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, data in found.files.items():
            if name.startswith(f"{folder}/media/"):
                entry = tarfile.TarInfo(name.removeprefix(f"{folder}/media/"))
                entry.size = len(data)
                archive.addfile(entry, BytesIO(data))
    return Reply(data=raw.getvalue())
