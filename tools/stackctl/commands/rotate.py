"""Changes the stack's secrets while it serves.

A server accepts the new password next to the former one, its clients are replaced as in a deploy,
then the former one is refused. The new value is in `.env` before anything uses it: the next run
completes one that was cut off, and a change by hand.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ops.environment.broker import NEEDED
from ops.environment.contract import VARIABLES
from ops.environment.loader import find_dotenv

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, InterruptedByUserError, StackctlError, UsageError
from ..common.interrupt import Interrupt
from ..docker import compose, lock
from ..inside.passwords import BROKER, DB, PASSWORDS, REDIS, Password
from ..releases import deploy, record, refusals, release
from ..releases.attempt import Attempt
from ..releases.record import Outcome
from ..releases.roll import Roll
from ..releases.server_checks import Limits
from . import dotenv_file, stack

KEY, FALLBACKS = "DJANGO_SECRET_KEY", "DJANGO_SECRET_KEY_FALLBACKS"
# Enough for a session of two weeks, rotated every few days.
KEPT_KEYS: Final = 4


NAMES: Final = (*PASSWORDS, "secret-key", "all")


def rotate(console: Console, name: str, limits: Limits) -> dict[str, Any]:
    """Replace a password of the stack, or Django's secret key, without failed requests.

    Raises:
        StackctlError: refused, nothing was changed; or it ended in the middle, and the next run
            completes it. The stack works in both cases.
        UsageError: there is no such secret.
    """
    if name not in NAMES:
        raise UsageError(f"there is no secret {name!r}", f"There are: {', '.join(NAMES)}.")
    project = stack.load()
    interrupt = Interrupt()
    with lock.held(project, f"rotate {name}"), interrupt.noted(console.warn):
        change = _Rotation(project, name, console, interrupt, limits)
        return change.run()


class _Rotation:
    """One rotation of secrets."""

    def __init__(
        self,
        project: compose.Project,
        name: str,
        console: Console,
        interrupt: Interrupt,
        limits: Limits,
    ) -> None:
        """Check what may be changed; nothing is changed yet."""
        self.project, self.name, self.console = project, name, console
        self.interrupt, self.limits = interrupt, limits
        broker = project.environment(project.servers[0]).get("BROKER", "redis")
        has_password = "BROKER_PASSWORD" in NEEDED.get(broker, {})
        if name == "broker" and not has_password:
            hint = "./stackctl rotate redis" if broker == "redis" else "None is set here."
            raise UsageError(f"the broker is {broker}, and has no password of its own", hint)
        self.all = [REDIS, DB, *([BROKER] if has_password else [])]
        self.passwords = [p for p in self.all if name in (p.name, "all")]
        self.key = name in ("secret-key", "all")
        self.given = project.environment(project.servers[0])
        self.dotenv = find_dotenv(os.environ, project.layer, process.ROOT).values
        for password in self.passwords:
            self._require_own(password)
        for variable in [p.variable for p in self.passwords] + ([KEY, FALLBACKS] * self.key):
            self._require_dotenv(variable)

        former = self._value(KEY)
        if self.key and ("," in former or former != former.strip()):
            raise StackctlError(
                f"{KEY} has a comma or a space at its end, and cannot be one of {FALLBACKS}; "
                "nothing was changed",
                f"Write another {KEY} into .env and ./stackctl deploy; that signs all users out.",
            )

    def run(self) -> dict[str, Any]:
        """Change the secrets, and return the result for scripts."""
        # A roll brings all of `.env` to the servers, so each value in it has to be accepted.
        pending = [p for p in self.all if self._is_pending(p)]
        containers = self.project.containers()
        serving = any(containers[s].running for s in self.project.servers if s in containers)
        fresh = [p for p in self.passwords if p not in pending]
        for password in pending:
            self.console.say(f"{password.variable}: completing the change to the value in .env")
            password.accept(self.project, self._value(password.variable))
        if not serving:
            if not any(containers[c].running for c in self._clients if c in containers):
                for password in pending:
                    password.retire(self.project, self._value(password.variable))
            if fresh or self.key:
                raise StackctlError(
                    "the stack is not running; secrets change while it serves", "./stackctl up"
                )
            self.console.say("./stackctl up starts the stack")
            return self._result([])
        balancer = refusals.require(self.project, self.console)
        self.image, self.release = release.present(
            self.project, "no new secret was written", "rotate"
        )
        done = [p for p in self.all if p in fresh or p in pending]
        attempt = Attempt(
            self.project, f"{record.ROTATE} {self.name}", self.release, self.console, self.image
        )
        with attempt.begun():
            self._switch(fresh)
            self._roll(balancer, attempt)
            for password in done:
                password.retire(self.project, self._value(password.variable))
            if self.key:
                self._sign_with_new_key(balancer, attempt)
            attempt.note(Outcome.OK)
        changed = [p.variable for p in done] + [KEY] * self.key
        self.console.good(f"rotated: {', '.join(changed)}; the new values are in .env")
        return self._result(changed)

    def _switch(self, fresh: list[Password]) -> None:
        """Write new values into `.env`, and have the servers accept them."""
        before = {p.variable: self._value(p.variable) for p in fresh}
        for password in fresh:
            # The former one has to be the primary password; the clients' may be the secondary.
            password.retire(self.project, before[password.variable])
        values = {p.variable: secrets.token_urlsafe(32) for p in fresh}
        keys = {}
        if self.key:
            # Every server must know the new key before one signs with it.
            self.new_key = secrets.token_urlsafe(64)
            keys = {FALLBACKS: ",".join([self.new_key, *self._fallbacks()][:KEPT_KEYS])}
        self._write({**values, **keys})
        try:
            for password in fresh:
                password.accept(self.project, values[password.variable])
        except BaseException:
            left = {p.variable: before[p.variable] for p in fresh if not self._accepted(p, values)}
            self._write(left)
            raise

    def _accepted(self, password: Password, values: Mapping[str, str]) -> bool:
        try:
            return password.accepts(self.project, values[password.variable])
        except StackctlError:
            return False

    def _sign_with_new_key(self, balancer: Any, attempt: Attempt) -> None:
        before = self._value(KEY)
        fallbacks = [key for key in (before, *self._fallbacks()) if key != self.new_key]
        self._write({KEY: self.new_key, FALLBACKS: ",".join(fallbacks[:KEPT_KEYS])})
        self._roll(balancer, attempt)

    def _roll(self, balancer: Any, attempt: Attempt) -> None:
        """Recreate the servers and workers with the present `.env`."""
        roll = Roll(self.project, balancer, self.console, self.interrupt, self.limits)
        next_step = f"./stackctl rotate {self.name} completes it; until then both secrets work."
        try:
            finished = roll.all(self.image, self.release)
        except Exception as error:
            # Whatever it is, as in a deploy: no server stays out of service.
            reason = deploy.show(error, self.console)
            try:
                roll.back()
                attempt.note(Outcome.ROLLED_BACK, reason)
            except Exception as failed:
                attempt.note(Outcome.NOT_ROLLED_BACK, reason)
                self.console.bad(f"not back in service: {failed}")
            raise StackctlError(
                f"not every server runs with the new secrets: {reason}", next_step
            ) from None
        if not finished:
            attempt.note(Outcome.INTERRUPTED)
            raise InterruptedByUserError("interrupted; every server is in service", next_step)

    def _is_pending(self, password: Password) -> bool:
        """Return whether `.env` has a value that not every client or not the server has yet."""
        if password not in self.passwords and not self._is_answering(password):
            return False
        wanted = self._value(password.variable)
        running = self.project.containers()
        default = VARIABLES[password.variable].default_in(self.project.layer)
        have = {
            running[name].environ.get(password.variable) or default
            for name in self._clients
            if name in running
        }
        return not password.accepts(self.project, wanted) or not have <= {wanted}

    def _is_answering(self, password: Password) -> bool:
        """Return whether a server whose password is not rotated is the stack's own, and up."""
        with suppress(StackctlError):
            password.accepts(self.project, self._value(password.variable))
            return password.is_own(self.project)
        return False

    @property
    def _clients(self) -> tuple[str, ...]:
        return (*self.project.servers, *self.project.workers)

    def _fallbacks(self) -> list[str]:
        return [key for key in self._value(FALLBACKS).split(",") if key]

    def _value(self, variable: str) -> str:
        """Return what the application is given, by compose or by its layer's default."""
        default = VARIABLES[variable].default_in(self.project.layer)
        return self.given.get(variable) or default

    def _write(self, values: Mapping[str, str]) -> None:
        dotenv_file.update(values)
        self.given |= values

    def _require_own(self, password: Password) -> None:
        host, _ = password.host
        if not password.is_own(self.project):
            raise StackctlError(
                f"the application uses another server than {password.service} ({password.url} or "
                f"{host} names it); nothing was changed",
                f"Change the password there, then in {password.url} or {password.variable}; "
                "./stackctl deploy brings it to the servers.",
            )

    def _require_dotenv(self, variable: str) -> None:
        by_hand = "Change it there and in the server by hand, then ./stackctl deploy."
        if variable in os.environ:
            raise StackctlError(
                f"{variable} comes from this shell's environment, which overrides .env; nothing "
                "was changed",
                f"Put it into .env and unset it here. Or: {by_hand}",
            )
        file = f"{variable}_FILE"
        if os.environ.get(file) or self.dotenv.get(file) or self.given.get(file):
            raise StackctlError(f"{variable} comes from {file}; nothing was changed", by_hand)
        if (
            self.given.get(variable, "") != self.dotenv.get(variable, "")
            and variable in self.dotenv
        ):
            raise StackctlError(
                f"compose reads {variable} from elsewhere than .env; nothing was changed", by_hand
            )

    def _result(self, changed: list[str]) -> dict[str, Any]:
        return {"rotated": changed, "project": self.project.name, "code": int(ExitCode.OK)}
