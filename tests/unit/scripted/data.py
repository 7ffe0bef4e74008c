"""A fake database, media volume and migrations."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.unit.scripted.model import Reply
from tools.stackctl.commands import backup, restore
from tools.stackctl.inside import databases

if TYPE_CHECKING:
    from tests.unit.scripted.engine import Engine

LIVE = "shop"
# A log line that a settings module may print next to the answer.
LOG_LINE = '{"applied": [], "unapplied": ["log.0001"], "errors": {"log.0001": ["a log line"]}}'


@dataclass
class Data:
    """The data of a stack."""

    engine: Engine
    # The rows of each database. A row names a media file.
    rows: dict[str, list[str]] = field(default_factory=lambda: {LIVE: ["a.png"]})
    extras: bytes = b"GRANT"
    loaded_as: str = ""
    media: dict[str, bytes] = field(default_factory=lambda: {"a.png": b"A"})
    staged: dict[str, bytes] = field(default_factory=dict)
    # Called before each part is saved, such as for uploads of visitors.
    meanwhile: Callable[[], object] = lambda: None
    # The passwords that each server accepts, the primary one first.
    accepted: dict[str, list[str]] = field(
        default_factory=lambda: {"mysql.sh": ["a-password"], "redis.sh": ["a-password"]}
    )
    applied: list[str] = field(default_factory=lambda: ["shop.0001"])
    # The migrations of a release, and the findings of the linter.
    migrations: dict[str, list[str]] = field(default_factory=dict)
    findings: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    # A failing migration: number applied before, exit code, output.
    migration_fails: tuple[int, int, str] | None = None

    def upload(self, name: str) -> None:
        """Add an upload: first its file, then its row."""
        self.media[name] = name.encode()
        self.rows[LIVE].append(name)

    def migrate(self, release: str, command: list[str]) -> Reply:
        """List the migrations of a release, or apply them."""
        to_come = [n for n in self.migrations.get(release, []) if n not in self.applied]
        if command:
            action, mark = command[-2:]
            if reply := self.engine.step(f"{action} migrations"):
                return reply
            result: dict[str, Any] = {"applied": self.applied, "unapplied": to_come}
            if action == "lint":
                result |= self.findings
            answer = f"{mark}{json.dumps(result)}"
            return Reply(out=f"{LOG_LINE}\n{answer}\n{LOG_LINE}\n")
        if reply := self.engine.step("migrate"):
            return reply
        if self.migration_fails:
            count, code, words = self.migration_fails
            self.applied = [*self.applied, *to_come[:count]]
            return Reply(code, out=words)
        self.applied = [*self.applied, *to_come]
        return Reply(out="migrate: waiting for the lock\nApplying\n")

    def media_volume(self, script: str, stdin: bytes) -> Reply:
        """Run a script of backup or restore on the media volume."""
        names = {
            backup.PACK: "save media",
            restore.STAGE: "unpack media",
            restore.SWITCH: "switch media",
            restore._DISCARD: "discard media",
        }
        if reply := self.engine.step(names[script]):
            return reply
        match names[script]:
            case "save media":
                self.meanwhile()
                return Reply(data=packed(self.media))
            case "unpack media":
                self.staged = unpacked(stdin)
            case "switch media":
                self.media, self.staged = self.staged, {}
            case "discard media":
                self.staged = {}
        return Reply()

    def server(self, script: str, arguments: list[str], stdin: bytes) -> Reply:
        """Run an action of a server script in inside/."""
        action, database, *_ = (*arguments, "")
        database = database or LIVE
        if action in ("knows", "accept", "retire"):
            return self.password(script, action, stdin.decode().rstrip("\n"))
        place = "" if database == LIVE else f" {database}"
        if reply := self.engine.step(f"database {action}{place}"):
            return reply
        match action:
            case "dump":
                self.meanwhile()
                text = "\n".join(self.rows[database])
                warning = "left out: the view broken" if "lenient" in arguments else ""
                return Reply(
                    err=warning, data=text.encode() + b"\n" + databases.SERVERS[0].dump_end
                )
            case "extras":
                return Reply(data=self.extras)
            case "prepare":
                self.rows[database] = []
            case "load":
                self.loaded_as = "".join(arguments[2:])
                self.rows[database] = stdin.decode().splitlines()[:-1]
            case "switch":
                self.extras = stdin
                self.rows[LIVE] = self.rows.pop(database)
            case "inventory":
                return Reply(out="tables uploads\n")
            case "remove":
                self.rows.pop(database, None)
        return Reply()

    def password(self, script: str, action: str, password: str) -> Reply:
        """Check a password, accept it in addition, or refuse all others."""
        accepted = self.accepted[script]
        if action == "knows":
            return Reply(0 if password in accepted else 3)
        service = {"mysql.sh": "db"}.get(script, script.removesuffix(".sh"))
        if reply := self.engine.step(f"{action} password {service}"):
            return reply
        if action == "retire":
            self.accepted[script] = [password]
        elif password not in accepted:
            self.accepted[script] = [password, accepted[0]]
        return Reply()


def packed(files: dict[str, bytes]) -> bytes:
    """Return files as a tar archive."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Return the files of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        result = {entry.name: opened.extractfile(entry) for entry in opened}
        return {name: file.read() for name, file in result.items() if file}
