"""Which folder a stack belongs to: two clones with one STACK_NAME share containers and data.

The first one to start a stack writes its folder into the stack's volume `stackctl`; another one is
refused until `./stackctl adopt`. A container knows the folder from a bind mount of it.
"""

from __future__ import annotations

import re
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


def other_owner() -> tuple[str, str]:
    """Return the stack's folder and this one where they differ; claim a stack that has none."""
    here = folder(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if not here or not OWNER.parent.is_dir():
        return "", ""
    try:
        owner = OWNER.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        owner = ""
    if not owner:
        with suppress(OSError):
            OWNER.write_text(f"{here}\n", encoding="utf-8")
        return "", ""
    return ("", "") if owner == here else (owner, here)
