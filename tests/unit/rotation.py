"""A running stack whose secrets are rotated; it fails when a client is refused meanwhile."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.environment import dotenv
from ops.environment.contract import VARIABLES
from tests.unit.test_stackctl_parts import container, fake_project
from tools.stackctl.commands import dotenv_file, rotate
from tools.stackctl.commands import stack as stacks
from tools.stackctl.common import process
from tools.stackctl.common.console import Console
from tools.stackctl.docker import compose, lock
from tools.stackctl.docker.engine import Container
from tools.stackctl.inside.passwords import PASSWORDS, Password
from tools.stackctl.releases import refusals, release
from tools.stackctl.releases.attempt import Attempt
from tools.stackctl.releases.roll import Roll
from tools.stackctl.releases.server_checks import Limits

FORMER = "a\"b$c d#e\\f'"
GIVEN = {"DB_HOST": "db", "REDIS_HOST": "redis", "BROKER_HOST": "broker", "BROKER": "rabbitmq"}
SECRETS = ("DB_PASSWORD", "REDIS_PASSWORD", "BROKER_PASSWORD", "DJANGO_SECRET_KEY")


class Stack:
    """A stack of a server and a worker; for each service, a set of accepted passwords."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give every secret the same former value."""
        self.env = root / ".env"
        self.env.write_text("# kept\nLAYER=local\n")
        self.env.chmod(0o640)
        if os.geteuid() == 0:
            # stackctl may run as root in a clone of another user.
            os.chown(self.env, 12345, 12346)
        self.env_owner = (self.env.stat().st_uid, self.env.stat().st_gid)
        self.given = dict(GIVEN)
        monkeypatch.setattr(process, "ROOT", root)
        for name in SECRETS:
            monkeypatch.delenv(name, raising=False)
        dotenv_file.update(dict.fromkeys(SECRETS, FORMER))
        self.accepted = {name: {FORMER} for name in PASSWORDS}
        self.seen: list[dict[str, str]] = []
        self.running = True
        self.clients = {
            name: container(service=name, environ=self.values()) for name in ("server2", "worker")
        }
        # Called before each service is recreated.
        self.before_each: Callable[[str], None] = lambda _: None
        patches: list[tuple[Any, str, Any]] = [
            (stacks, "load", self.project),
            (lock, "held", lambda *_: nullcontext()),
            (refusals, "require", lambda *_: None),
            (compose.Project, "containers", lambda _: self.containers()),
            (compose.Project, "environment", lambda *_: {**self.values(), **self.given}),
            (Roll, "all", lambda roll, *_: self.roll(roll)),
            (Roll, "back", lambda _: None),
            (Attempt, "note", lambda *_: None),
            (release, "prune", lambda _: []),
            (Password, "accepts", lambda p, _, word: word in self.accepted[p.name]),
            (Password, "accept", lambda p, _, word: self.accepted[p.name].add(word)),
            (Password, "retire", lambda p, _, word: self.accepted.update({p.name: {word}})),
        ]
        for owner, name, value in patches:
            monkeypatch.setattr(owner, name, value)

    def project(self) -> compose.Project:
        """Return the project, with one server."""
        project = fake_project()
        services = {k: v for k, v in project.services.items() if k != "server10"}
        return replace(project, model={"name": "project", "services": services})

    def values(self) -> dict[str, str]:
        """Return the values in `.env`."""
        return dict(dotenv.read(self.env).values)

    def forget(self, name: str) -> None:
        """Leave a password to its default, as a new stack of the local layer does."""
        variable = PASSWORDS[name].variable
        lines = self.env.read_text().splitlines(keepends=True)
        self.env.write_text("".join(one for one in lines if not one.startswith(f"{variable}=")))
        for client, one in self.clients.items():
            self.clients[client] = replace(one, environ=self.values())
        self.accepted[name] = {VARIABLES[variable].default_in("local")}

    def containers(self) -> dict[str, Container]:
        """Return the containers of the application."""
        return {
            name: replace(c, running=self.running and c.running) for name, c in self.clients.items()
        }

    def roll(self, roll: Roll) -> bool:
        """Recreate the clients with the new environment; none may be refused."""
        for name, client in self.clients.items():
            self.before_each(name)
            if roll.interrupt.requested:
                return False
            self.check_no_client_is_refused()
            self.clients[name] = replace(client, environ=self.values())
            self.seen.append(self.values())
        self.check_no_client_is_refused()
        return True

    def check_no_client_is_refused(self) -> None:
        """Assert that all passwords of clients are accepted, and that all know all secret keys."""
        clients = [client.environ for client in self.clients.values()]
        for password in PASSWORDS.values():
            default = VARIABLES[password.variable].default_in("local")
            used = {client.get(password.variable, default) for client in clients}
            assert used <= self.accepted[password.name]
        for one in clients:
            for other in clients:
                keys = [other["DJANGO_SECRET_KEY"], *other.get(rotate.FALLBACKS, "").split(",")]
                assert one["DJANGO_SECRET_KEY"] in keys

    def check_rotated(self, values: dict[str, str], *passwords: str) -> None:
        """Assert that these are rotated in `.env` and clients, and the only ones in the server."""
        for password in (PASSWORDS[name] for name in passwords):
            word = values[password.variable]
            assert word != FORMER
            assert self.accepted[password.name] == {word}
            assert {c.environ[password.variable] for c in self.clients.values()} == {word}

    def rotate(self, name: str) -> dict[str, Any]:
        """Rotate a secret."""
        return rotate.rotate(Console(as_json=True), name, Limits())
