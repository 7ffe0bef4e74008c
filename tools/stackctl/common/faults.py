"""Errors: the message for people, and the exit code for scripts."""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """The command's exit codes; docs/stackctl.md lists them."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    ROLLED_BACK = 3
    NOT_ROLLED_BACK = 4
    NOT_WHOLE = 5
    INTERRUPTED = 130
    LOST = 255


class StackctlError(Exception):
    """A fault that ends the command; the message says what is wrong and the next step."""

    code = ExitCode.REFUSED

    def __init__(self, problem: str, hint: str = "", *, output: str = "") -> None:
        """Keep the two halves and the failed program's own last lines apart."""
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.output = output


def from_system(error: OSError) -> StackctlError:
    """Say in words what this machine refused: another user's file, a full disk."""
    what = f"{error.filename or 'this machine'}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        hint = "It belongs to another user: run this as that user, or change its owner (chown)."
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free space on that disk and try again; no partial result was kept."
    else:
        hint = "Correct that and try again."
    return StackctlError(what, hint)


class UsageError(StackctlError):
    """The command line names something that does not exist."""

    code = ExitCode.USAGE


class RolledBackError(StackctlError):
    """A release failed, and every server is back on the one before."""

    code = ExitCode.ROLLED_BACK


class NotRolledBackError(StackctlError):
    """A release failed, and so did the rollback."""

    code = ExitCode.NOT_ROLLED_BACK


class NotWholeError(StackctlError):
    """A restore ended in the middle; the message names the backup to restore."""

    code = ExitCode.NOT_WHOLE


class InterruptedByUserError(StackctlError):
    """The person pressed Ctrl-C; the message says what the stack runs now."""

    code = ExitCode.INTERRUPTED
