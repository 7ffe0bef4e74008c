"""Which folder a stack belongs to: two clones with one STACK_NAME share containers and data.

The first one to start a stack writes its folder into the stack's volume `stackctl`; another one is
refused until `./stackctl adopt`. A container knows the folder from a bind mount of it.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath

# A folder of the clone, mounted read-only, and the stack's volume.
MOUNT = "/srv/clone"
OWNER = Path("/srv/stackctl/owner")


def folder(mountinfo: str, mount: str = MOUNT) -> str:
    """Return the folder that holds the one mounted at `mount`; empty when none is.

    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if fields[4:5] == [mount]:
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[3])
            return str(PurePosixPath(path).parent)
    return ""


def main() -> str | None:
    """Claim a stack without an owner; return what is wrong where it has another one."""
    here = folder(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    # Somewhere else than in Compose's service env-check there is nothing to compare.
    if not here:
        return None
    with suppress(FileNotFoundError):
        owner = OWNER.read_text(encoding="utf-8").strip()
        if owner != here:
            return (
                f"This stack belongs to the clone in {owner}, and this one is in {here}. Its data "
                "are untouched.\nFor a stack of its own, put another STACK_NAME (and other ports) "
                "in .env.\nTo run that stack and its data from here: ./stackctl adopt\n"
                "Compose has stopped what it was about to replace; to start it again, in "
                f"{owner}: docker compose up --detach"
            )
        return None
    with suppress(OSError):
        OWNER.write_text(f"{here}\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main())
