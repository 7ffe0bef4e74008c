"""What restic's exit codes and words mean for people.

https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..common.faults import StackctlError

INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 3, 10, 11, 12
_INTERRUPTED = 130
_RETRIED = re.compile(r"returned error, retrying after [^:]*: (.*)")
# What it says when it is ended.
_ENDED = re.compile("context canceled|signal .* received")
# By Docker's, restic's or ssh's words; the first that fits.
_KNOWN = (
    (
        r"bind source path does not exist",
        "there is no folder {place}",
        "Mount its disk, or create the folder: mkdir {place}",
    ),
    (
        r"host key verification failed",
        "{place} has another host key than BACKUP_SSH_HOST_KEY",
        "Compare the server's key; `ssh-keyscan` prints the one that it has now.",
    ),
    (
        r"permission denied \(",
        "{place} refuses the key in BACKUP_SSH_KEY",
        "Add its public half to the user's authorized_keys there.",
    ),
    (
        r"accessdenied|access denied|invalidaccesskeyid|signaturedoesnotmatch|forbidden"
        r"|access key id you provided",
        "{place} refuses the keys: {words}",
        "Check BACKUP_S3_ACCESS_KEY_ID and BACKUP_S3_SECRET_ACCESS_KEY, and what they may do: "
        "docs/backups.md.",
    ),
    (
        r"no space left|disk quota|storagefull|quota exceeded|write: failure",
        "no space is left: {words}",
        "Free space in {place}, or here if it names /srv/dump or /cache. Backups that were "
        "complete stay.",
    ),
    (
        r"nosuchbucket|bucket does not exist|bucket name cannot",
        "there is no such bucket in {place}",
        "Create it, or correct BACKUP_TO.",
    ),
)


def last_words(lines: Iterable[str]) -> str:
    """Return why restic failed, as it says."""
    said = [_words(line) for line in lines if line.strip() and not _ENDED.search(line)]
    retried = [match[1] for line in said if (match := _RETRIED.search(line))]
    # ssh's own reason; then restic's, after which it names the place once more.
    for start in ("ssh: ", "Fatal: "):
        if named := [line for line in said if line.startswith(start)]:
            return named[-1].removeprefix(start)[-400:]
    return (retried or said or ["it printed nothing"])[-1][-400:]


def _words(line: str) -> str:
    line = line.strip()
    if line.startswith("{"):
        try:
            message = json.loads(line)
        except ValueError:
            return line
        return str(message.get("message") or (message.get("error") or {}).get("message") or line)
    return line


def fault(place: str, code: int, text: str) -> StackctlError:
    """Return the error for an end of restic.

    Args:
        place: BACKUP_TO.
        code: the exit code.
        text: all that it printed.
    """
    words = last_words(text.splitlines())
    if code == WRONG_PASSWORD:
        return StackctlError(
            f"BACKUP_PASSWORD is not the password of the backups in {place}",
            "Set the one that they were made with; they cannot be read without it. To start "
            "again, name another folder in BACKUP_TO.",
        )
    if code == NO_REPOSITORY:
        return StackctlError(
            f"there are no backups in {place}: {words}",
            "Check BACKUP_TO; is the disk mounted, the bucket the right one?",
        )
    if code == LOCKED:
        return StackctlError(
            f"another program uses the backups in {place}: {words}",
            "Wait until it has ended. If that machine was switched off, its lock counts for 30 "
            "minutes; the next backup after that removes it.",
        )
    for pattern, problem, hint in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE):
            return StackctlError(problem.format(place=place, words=words), hint.format(place=place))
    return StackctlError(
        f"{place}: {words}", "Correct that and try again; complete backups stay as they are."
    )


def silent(place: str, seconds: float, lines: Iterable[str]) -> StackctlError:
    """Return the error for a place that does not answer in time.

    Args:
        place: BACKUP_TO.
        seconds: how long it had.
        lines: what restic has printed.
    """
    lines = list(lines)
    # Keys and buckets that a server refuses are tried again too.
    if any(re.search(pattern, "\n".join(lines), re.IGNORECASE) for pattern, *_ in _KNOWN):
        return fault(place, 1, "\n".join(lines))
    reason = f": {last_words(lines)}" if lines else ""
    return StackctlError(
        f"{place} does not answer within {seconds:.0f} s{reason}",
        "Check its name, its port and this machine's network. Nothing was changed.",
    )
