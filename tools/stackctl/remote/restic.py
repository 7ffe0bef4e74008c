"""restic, in a container of its own: its image, its commands, and how each ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from ..common import outputs, process
from ..common.faults import StackctlError
from ..docker import compose, engine
from . import faults
from .place import MOUNTED, Place

SOURCE = "variants/backup"
BUILD_SECONDS = 900.0
# Until a server has to answer; restic itself tries for 15 minutes.
OPEN_SECONDS = 60.0
# Of a list, of the removal of old backups, and of a check, which read what the place has.
LIST_SECONDS = 300.0
LONG_SECONDS = 86_400.0
_CACHE = "/cache"
# What ssh says goes to the container's own standard error: restic may end before it passes it on.
_SSH = ("--option", "sftp.args=-E /proc/1/fd/2")


def cache_of(project: compose.Project) -> str:
    """Return the volume with what restic keeps of the places."""
    return f"{project.name}_backup-cache"


def remove_cache(project: compose.Project) -> None:
    """Remove the volume, where there is one."""
    process.run("docker", "volume", "rm", cache_of(project))


class Restic:
    """Runs restic for one stack and one place."""

    def __init__(self, project: compose.Project, place: Place) -> None:
        """Keep the place, and ask for the machine's name.

        Raises:
            StackctlError: the engine does not answer.
        """
        self.project, self.place = project, place
        # The machine's own name, by which restic knows its locks.
        name = engine.docker("info", "--format", "{{.Name}}").strip()
        self._host = f"{project.name}.{name}".replace("_", "-")[:60]

    @property
    def saving(self) -> str:
        """Return the name of the container that saves: the engine allows one at a time."""
        return f"{self.project.name}-backup"

    @property
    def image(self) -> str:
        """Return the image's name, whose tag changes with what it is made of."""
        files = sorted((process.ROOT / SOURCE).iterdir())
        content = b"".join(file.read_bytes() for file in files if file.is_file())
        return f"{self.project.name}-backup:{hashlib.sha256(content).hexdigest()[:12]}"

    def build(self) -> None:
        """Build the image where there is none.

        Raises:
            StackctlError: it cannot be built.
        """
        if engine.image_id(self.image):
            return
        result = process.run(
            *("docker", "build", "--quiet", "--tag", self.image, SOURCE), seconds=BUILD_SECONDS
        )
        if not result.ok:
            raise StackctlError(
                f"the image of restic cannot be built from {SOURCE}/",
                "It installs Debian's package restic; does this machine reach the registry and "
                "Debian's mirror?",
                output="\n".join(result.text().splitlines()[-10:]),
            )

    def open(self, *, create: bool) -> bool:
        """Open the place, remove locks that crashed backups of this machine left there.

        Args:
            create: whether to begin where there are no backups yet.

        Returns whether it was begun.

        Raises:
            StackctlError: it does not answer, or the password is wrong.
        """
        code, text = self._ask(OPEN_SECONDS, "unlock", init=False)
        if code == faults.NO_REPOSITORY and create:
            code, text = self._ask(OPEN_SECONDS, "init")
            if not code:
                return True
        if code:
            raise faults.fault(self.place.name, code, text)
        return False

    def json(self, *arguments: str) -> Any:
        """Return what a command prints as JSON.

        Raises:
            StackctlError: it failed.
        """
        result = process.run(
            *self.command(("restic", *arguments, "--json")),
            seconds=LIST_SECONDS,
            environ=self.place.environ,
        )
        if not result.ok:
            raise faults.fault(self.place.name, result.code, result.text())
        with outputs.read(f"restic {arguments[0]} --json"):
            return json.loads(result.out)

    def run(self, *arguments: str) -> None:
        """Run a command that may take hours.

        Raises:
            StackctlError: it failed.
        """
        code, text = self._ask(LONG_SECONDS, *arguments)
        if code:
            raise faults.fault(self.place.name, code, text)

    def save(
        self, *arguments: str, pieces: Iterable[bytes], volumes: dict[str, str]
    ) -> process.Result:
        """Save a snapshot of a dump and of volumes.

        Args:
            arguments: of `restic backup`.
            pieces: the dump, as a tar archive.
            volumes: the names of volumes, by the folder that each is saved as.

        Raises:
            StackctlError: another backup of this stack is being saved.
        """
        # One that was cut off before it started; one that runs stays.
        process.run("docker", "rm", self.saving)
        options = [f"--volume={name}:{folder}:ro" for folder, name in volumes.items()]
        options += ["--name", self.saving, "--mount", "type=volume,target=/srv/dump"]
        result = process.pump_in(
            *self.command(("save", *arguments), *options),
            pieces=pieces,
            environ=self.place.environ,
        )
        if "is already in use by container" in result.err:
            raise StackctlError(
                f"another backup of {self.project.name} is being saved, by the container "
                f"{self.saving}",
                f"Wait until it has ended, or end it: docker stop {self.saving}",
            )
        return result

    def pump(self, *arguments: str) -> tuple[str, ...]:
        """Return the command whose output is data."""
        return self.command(("restic", *arguments))

    def _ask(self, seconds: float, *arguments: str, init: bool = True) -> tuple[int, str]:
        """Run a command; return its exit code and all that it printed.

        Raises:
            StackctlError: it did not end in time.
        """
        lines: list[str] = []
        try:
            result = process.follow(
                *self.command(("restic", *arguments), init=init),
                on_line=lines.append,
                seconds=seconds,
                environ=self.place.environ,
            )
        except StackctlError:
            raise faults.silent(self.place.name, seconds, lines) from None
        return result.code, result.out

    def command(
        self, program: tuple[str, ...], *options: str, init: bool = True
    ) -> tuple[str, ...]:
        """Return the command that runs a program of the image.

        It has this machine's network: what `ssh` and `curl` reach here, it reaches. Without `init`
        restic is process 1 with few others next to it: a lock of one that saved counts as that of a
        process that has ended (variants/backup/save).
        """
        folder = self.place.folder
        return (
            *("docker", "run", "--rm", "--interactive", *(["--init"] if init else [])),
            *("--network", "host", "--hostname", self._host),
            *("--read-only", "--tmpfs", "/tmp:size=1g"),  # noqa: S108 (of the container)
            # Files of any user are read and written.
            *("--cap-drop", "ALL", "--cap-add", "DAC_OVERRIDE"),
            *("--security-opt", "no-new-privileges:true", "--log-driver", "none"),
            *("--volume", f"{cache_of(self.project)}:{_CACHE}"),
            *("--env", f"RESTIC_CACHE_DIR={_CACHE}"),
            # --volume would create one that is missing: an unmounted disk would fill this one's.
            *(["--mount", f"type=bind,source={folder},target={MOUNTED}"] if folder else []),
            # By name: no list of processes shows a value.
            *(part for name in self.place.environ for part in ("--env", name)),
            *(*options, self.image, *program, *(_SSH if self.place.is_sftp else ())),
        )
