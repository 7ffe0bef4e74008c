"""What belongs to the stack, not to a clone of the project: its lock, its record and its owner.

The lock is a container with a fixed name that ends with its standard input, so it is freed however
its holder ends. The record and the owner are files in the volume that it mounts. All of it is in
the engine: two clones, two users and a remote DOCKER_HOST share it. Each function that asks the
engine raises StackctlError where it does not answer.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ops.environment import clone

from ..common import outputs, process
from ..common.faults import StackctlError
from . import engine
from .compose import Project

# Long enough to pull the image on a new machine.
TAKE_SECONDS = 300.0
# A container whose start was cut off between `create` and `start` holds the name until then.
STALE_SECONDS = 3.0
_HELD = "held\n"
# What it needs to know, then `held`, then nothing until its input ends.
_OWNER = """cat /proc/self/mountinfo
echo "owner $(cat owner 2>/dev/null)"
"""
_HOLD = f"""{_OWNER}
[ ! -e releases.jsonl ] || cat releases.jsonl
echo held
exec cat >/dev/null"""
# Whole, or as it was.
_STORE = 'cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1"'
_RECORD = "releases.jsonl"
# The records of the stacks whose lock this process holds: no other process writes them meanwhile.
_records: dict[str, str] = {}


def container_of(project: Project) -> str:
    """Return the name of the container that is the lock."""
    return f"{project.name}-stackctl"


def volume_of(project: Project) -> str:
    """Return the name of the volume with the record and the owner."""
    return f"{project.name}_stackctl"


def who() -> str:
    """Return user@host; of a command from another machine (over_ssh/) that one's."""
    if given := os.environ.get("STACKCTL_WHO"):
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """Return the present time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def held(project: Project, command: str, *, adopt: bool = False) -> Iterator[str]:
    """Hold the stack's lock while the block runs, and give the folder that it belonged to.

    Raises:
        StackctlError: another command holds it, or the stack belongs to another folder.
    """
    _make_volume(project)
    deadline = time.monotonic() + STALE_SECONDS
    while True:
        with process.attended(
            *_take(project, command), until=_HELD, seconds=TAKE_SECONDS
        ) as acquired:
            if acquired.out.endswith(_HELD):
                owner, here, text = _parse(project, acquired.out)
                if _is_foreign(owner, here) and not adopt:
                    raise foreign(project, owner)
                if here and owner != here:
                    _store(project, "owner", f"{here}\n")
                _records[project.name] = text
                try:
                    if not _records[project.name]:
                        _move_old_record(project)
                    yield owner
                finally:
                    del _records[project.name]
                return
        if "already in use" not in acquired.err:
            raise StackctlError(
                f"the stack's lock cannot be acquired: {acquired.err.strip()}",
                "`./stackctl doctor` checks this machine.",
            )
        if holds := holder(project):
            raise StackctlError(
                f"`stackctl {command}` was refused: {holds}",
                "Wait until it has ended; `./stackctl status` shows what it does.",
            )
        if time.monotonic() > deadline:
            # Without force: a container that runs stays.
            process.run("docker", "rm", container_of(project))
        time.sleep(0.1)


def holder(project: Project) -> str:
    """Return who holds the lock, in words; empty when it is free. It changes nothing."""
    fields = ("command", "who", "since", "process")
    line = engine.docker(
        *("ps", "--filter", f"name=^/{container_of(project)}$", "--format"),
        "\t".join(f'{{{{.Label "stackctl.{field}"}}}}' for field in fields),
    ).strip("\n")
    if not line:
        return ""
    with outputs.read("docker ps"):
        command, user, since, number = line.split("\t")
    return f"`stackctl {command}` of {user} is running since {since} (process {number})"


def other_owner(project: Project) -> str:
    """Return the folder that the stack belongs to where it is not this one. It changes nothing."""
    printed = ""
    if process.run("docker", "volume", "inspect", volume_of(project)).ok:
        printed = engine.docker("run", "--rm", "--quiet", *_clone_and_volume(project), "-c", _OWNER)
    owner, here, _ = _parse(project, printed)
    return owner if _is_foreign(owner, here) else ""


def foreign(project: Project, owner: str) -> StackctlError:
    """Return the error for a stack that belongs to another folder."""
    return StackctlError(
        f"the stack {project.name} belongs to the folder {owner}, and this is {process.ROOT}; "
        "nothing was changed",
        "For a stack of its own here, put another STACK_NAME (and other ports) in .env.\n"
        "To run that stack and its data from this folder from now on: ./stackctl adopt",
    )


def read_record(project: Project) -> str:
    """Return the record's text; empty when there is none."""
    if project.name in _records:
        return _records[project.name]
    return read_file(project, _RECORD) or _old_record(project)


def write_record(project: Project, text: str) -> None:
    """Write the record, whole or not at all. The lock has to be held.

    Raises:
        StackctlError: it cannot be written; the record is as it was.
    """
    _store(project, _RECORD, text)
    _records[project.name] = text


def read_file(project: Project, name: str) -> str:
    """Return the text of a file in the stack's volume; empty when there is none."""
    # `docker run` would make it.
    if not process.run("docker", "volume", "inspect", volume_of(project)).ok:
        return ""
    script = f"[ ! -e {name} ] || cat {name}"
    return engine.docker("run", "--rm", "--quiet", *_options(project), "-c", script)


def write_file(project: Project, name: str, text: str) -> None:
    """Write a file in the stack's volume, whole or not at all; for files that no lock protects.

    Raises:
        StackctlError: it cannot be written.
    """
    _make_volume(project)
    command = ("docker", "run", "--rm", "--interactive", "--quiet", *_options(project))
    done = process.run(*command, "-c", _STORE, "sh", name, stdin=text)
    if not done.ok:
        raise _not_stored(project, done)


def remove(project: Project) -> None:
    """Remove the record and the owner, together with the stack's other data."""
    process.run("docker", "volume", "rm", volume_of(project))


def _make_volume(project: Project) -> None:
    """Make the volume as compose would, which removes it with the others."""
    label = "com.docker.compose"
    engine.docker(
        *("volume", "create", "--label", f"{label}.project={project.name}"),
        *("--label", f"{label}.volume=stackctl", volume_of(project)),
    )


def _options(project: Project) -> tuple[str, ...]:
    """Return what a container with the volume is started with; the image is the stack's own."""
    return (
        *("--network", "none", "--log-driver", "none", "--user", "0:0", "--workdir", "/stackctl"),
        *("--volume", f"{volume_of(project)}:/stackctl", "--entrypoint", "sh"),
        project.services["haproxy"]["image"],
    )


def _take(project: Project, command: str) -> tuple[str, ...]:
    labels = {"command": command, "who": who(), "since": now(), "process": str(os.getpid())}
    return (
        *("docker", "run", "--rm", "--interactive", "--quiet", "--name", container_of(project)),
        *(part for name in labels for part in ("--label", f"stackctl.{name}={labels[name]}")),
        *(*_clone_and_volume(project), "-c", _HOLD),
    )


def _clone_and_volume(project: Project) -> tuple[str, ...]:
    return ("--volume", f"{process.ROOT / 'haproxy'}:{clone.MOUNT}:ro", *_options(project))


def _parse(project: Project, printed: str) -> tuple[str, str, str]:
    """Return the stack's folder, this one as the engine sees it, and what follows."""
    owner, _, text = printed.rpartition("\nowner ")[2].partition("\n")
    return owner or _owner_by_labels(project), clone.folder(printed), text.removesuffix(_HELD)


def _is_foreign(owner: str, here: str) -> bool:
    return bool(owner) and owner not in (here, str(process.ROOT))


def _owner_by_labels(project: Project) -> str:
    """Return another folder that compose started the stack from, before it had an owner."""
    label = "com.docker.compose"
    listed = engine.docker(
        *("ps", "--all", "--filter", f"label={label}.project={project.name}"),
        *("--format", f'{{{{.Label "{label}.project.working_dir"}}}}'),
    )
    folders = set(listed.splitlines())
    # The label has a link's own path.
    others = {folder for folder in folders if folder and Path(folder).resolve() != process.ROOT}
    return min(others) if others and others == folders else ""


def _old_folder(project: Project) -> Path:
    return process.ROOT / "var" / "stackctl" / project.name


def _old_record(project: Project) -> str:
    """Return the record of an earlier version, which was the clone's; empty when there is none."""
    old = _old_folder(project) / _RECORD
    if not old.exists():
        return ""
    # A crash may have cut the last line off.
    return old.read_text(encoding="utf-8", errors="replace").rstrip("\n") + "\n"


def _move_old_record(project: Project) -> None:
    """Bring the record of an earlier version into the stack's volume."""
    text = _old_record(project)
    if not text:
        return
    write_record(project, text)
    folder = _old_folder(project)
    with suppress(OSError):
        (folder / _RECORD).unlink()
        (folder / "lock").unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


def _store(project: Project, name: str, text: str) -> None:
    done = engine.execute(container_of(project), "sh", "-c", _STORE, "sh", name, stdin=text)
    if not done.ok:
        raise _not_stored(project, done)


def _not_stored(project: Project, done: process.Result) -> StackctlError:
    return StackctlError(
        f"volume {volume_of(project)}: {done.text()}",
        "`docker system df` shows what the engine's disk holds.",
    )
