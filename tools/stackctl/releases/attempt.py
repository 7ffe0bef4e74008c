"""An attempt to change what serves: its entries in the record, and what is said of its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..common.console import Console
from ..common.faults import ExitCode, InterruptedByUserError, RolledBackError, StackctlError
from ..docker import compose, lock
from . import record, release
from .record import Outcome


class Attempt:
    """One attempt, for the record."""

    def __init__(
        self, project: compose.Project, action: str, name: str, console: Console, image: str = ""
    ) -> None:
        """Start its clock."""
        self.project, self.action, self.release, self.image = project, action, name, image
        self.console = console
        # The migrations that were applied for it; they stay, whatever becomes of it.
        self.migrated: tuple[str, ...] = ()
        self._noted = self._resumed = False
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count its seconds from now on."""
        self._started = time.monotonic()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Record its begin before anything is touched, and its end whatever the block raises.

        What it raises passes through. Should stackctl be killed, the next command reads from the
        record what was in progress.
        """
        last = record.unfinished(self.project)
        self._resumed = last is not None
        self.note(Outcome.STARTED)
        self._noted = False
        try:
            yield
        except Exception as error:
            interrupted = isinstance(error, InterruptedByUserError)
            if not self._noted:
                # Nothing was touched: an attempt before that is unfinished is the one to resume.
                ended = interrupted and last is None
                words = error.problem if isinstance(error, StackctlError) else repr(error)
                if isinstance(error, RolledBackError):
                    # Why, and which migrations stay.
                    words = f"{error.problem}\n{error.hint}"
                self.note(Outcome.INTERRUPTED if ended else Outcome.FAILED, words)
            if not interrupted:
                _prune(self.project, self.console)
            raise
        _prune(self.project, self.console)

    def note(self, outcome: Outcome, words: str = "") -> None:
        """Write down how it ended; where that cannot be written, how it ended is as true."""
        self._noted = True
        seconds = round(time.monotonic() - self._started, 1)
        entry = record.Entry(
            *(lock.now(), self.action, self.release, self.image, outcome, lock.who()),
            *(seconds, words),
        )
        try:
            record.append(self.project, entry)
        except StackctlError as error:
            self.console.warn(f"this is not in the record of releases: {error.problem}")

    def serving_summary(self) -> str:
        """Return a line about the servers after all that it touched was put back."""
        if self.action == record.APPLY:
            return "Every server is in service. Correct .env, then ./stackctl apply."
        if not self._resumed:
            return "Every server runs the previous release again."
        return (
            f"Every server serves what it ran before: {in_words(self.project)}. "
            "./stackctl rollback brings back the release that served before."
        )

    def migrations_summary(self) -> str:
        """Return a line about its migrations, or nothing."""
        if not self.migrated:
            return ""
        return f"\nIts migrations stay applied: {', '.join(self.migrated)}."


def running_releases(project: compose.Project) -> dict[str, str]:
    """Return which release each server and worker runs, from their containers alone."""
    containers = project.containers()
    return {
        name: containers[name].release
        for name in (*project.servers, *project.workers)
        if name in containers
    }


def in_words(project: compose.Project) -> str:
    """Return it in words; the message that it is a part of must come whatever is broken."""
    try:
        releases = running_releases(project)
    except StackctlError as error:
        return f"the running releases are unknown ({error.problem})"
    return ", ".join(f"{service} runs {name}" for service, name in releases.items())


def next_steps(attempt: Attempt) -> str:
    """Return how an interrupted attempt goes on, or back."""
    if attempt.action == "rollback":
        ways = f"./stackctl rollback {attempt.release} resumes"
    elif attempt.action == record.APPLY:
        ways = "./stackctl apply resumes"
    else:
        ways = "./stackctl deploy resumes, ./stackctl rollback goes back"
    return (
        f"Every server is in service. {ways}; ./stackctl releases lists the releases."
        f"{attempt.migrations_summary()}"
    )


def result(attempt: Attempt, *, changed: bool) -> dict[str, Any]:
    """Return an attempt that ended well, for scripts."""
    project = attempt.project
    try:
        running = running_releases(project)
    except StackctlError as error:
        # The release serves: an engine that does not answer afterwards is no failure of it.
        attempt.console.warn(f"which release each server runs is not known: {error.problem}")
        running = {}
    return {
        "action": attempt.action,
        "project": project.name,
        "release": attempt.release,
        "changed": changed,
        "servers": {name: running[name] for name in project.servers if name in running},
        "code": int(ExitCode.OK),
    }


def _prune(project: compose.Project, console: Console) -> None:
    """Let old images go; a release that serves has not failed because one stays."""
    try:
        for gone in release.prune(project):
            console.say(
                f"cleaning up: removed the image of {gone}; "
                f"the {release.KEPT} latest releases that served keep theirs"
            )
    except StackctlError as error:
        console.warn(f"older releases' images were not checked: {error.problem}")
