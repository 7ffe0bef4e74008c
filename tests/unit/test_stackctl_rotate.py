"""`rotate` changes secrets while the stack serves; the next run completes one that was cut off."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.environment import dotenv
from tests.unit.test_stackctl_parts import container, fake_project
from tools.stackctl.checks import preflight
from tools.stackctl.commands import dotenv_file, rotate
from tools.stackctl.commands import stack as stacks
from tools.stackctl.common import process
from tools.stackctl.common.console import Console
from tools.stackctl.common.faults import InterruptedByUserError, StackctlError, UsageError
from tools.stackctl.docker import compose, lock
from tools.stackctl.docker.engine import Container
from tools.stackctl.inside.passwords import PASSWORDS, Password
from tools.stackctl.releases import refusals
from tools.stackctl.releases.attempt import Attempt
from tools.stackctl.releases.roll import Roll
from tools.stackctl.releases.server_checks import Limits, ServerFailedError

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
            assert all(c[password.variable] in self.accepted[password.name] for c in clients)
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


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Return a running stack."""
    return Stack(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", list(PASSWORDS))
def test_rotate_changes_one_password(stack: Stack, name: str) -> None:
    stack.rotate(name)

    values = stack.values()
    stack.check_rotated(values, name)
    assert sum(values[secret] == FORMER for secret in SECRETS) == 3
    assert stack.env.read_text().startswith("# kept\nLAYER=local\n")
    after = stack.env.stat()
    assert (after.st_mode & 0o777, after.st_uid, after.st_gid) == (0o640, *stack.env_owner)


def test_rotate_all_changes_every_secret_and_keeps_former_keys_valid(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    stack.rotate("all")

    values = stack.values()
    stack.check_rotated(values, *PASSWORDS)
    assert values["DJANGO_SECRET_KEY"] != FORMER
    assert values[rotate.FALLBACKS] == FORMER
    # The first roll adds the new key as a fallback, the second signs with it.
    assert [v["DJANGO_SECRET_KEY"] == FORMER for v in stack.seen] == [True, True, False, False]
    output = "".join(capfd.readouterr())
    assert not any(word in output for word in (FORMER, *(values[name] for name in SECRETS)))


def test_rotate_keeps_only_the_latest_former_secret_keys(stack: Stack) -> None:
    """Sessions were signed with them; the oldest of more than four goes first."""
    former: list[str] = []
    for _ in range(6):
        former.insert(0, stack.values()["DJANGO_SECRET_KEY"])
        stack.rotate("secret-key")

    assert stack.values()[rotate.FALLBACKS].split(",") == former[:4]


@pytest.mark.parametrize("service", ["server2", "worker"])
@pytest.mark.parametrize("name", ["db", "secret-key", "all"])
@pytest.mark.parametrize("fault", ["interrupt", "failure", "kill"])
def test_rotate_completes_a_rotation_that_was_cut_off(
    stack: Stack, service: str, name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Simulates a kill of this process."""

    def cut(reached: str) -> None:
        if reached != service:
            return
        if fault == "interrupt":
            os.kill(os.getpid(), 2)
        elif fault == "failure":
            raise ServerFailedError(service, "it is never healthy")
        else:
            raise Killed

    stack.before_each = cut
    expected = {"interrupt": InterruptedByUserError, "failure": StackctlError, "kill": Killed}
    with pytest.raises(expected[fault]) as ended:
        stack.rotate(name)
    if isinstance(ended.value, StackctlError):
        assert f"./stackctl rotate {name} completes it" in ended.value.hint
    stack.check_no_client_is_refused()
    begun = stack.values()

    stack.before_each = lambda _: None
    stack.rotate(name)

    if name != "secret-key":
        stack.check_rotated(stack.values(), "db")
        # It continues with the same password.
        assert stack.values()["DB_PASSWORD"] == begun["DB_PASSWORD"]
    if name != "db":
        assert stack.values()["DJANGO_SECRET_KEY"] != FORMER


def test_new_secrets_cannot_be_guessed(stack: Stack) -> None:
    """256 bits of a password, and what Django's own `startproject` has of a key at least."""
    stack.rotate("all")

    values = stack.values()
    assert all(len(values[password.variable]) >= 43 for password in PASSWORDS.values())
    assert len({values[name] for name in SECRETS}) == 4
    assert len(values["DJANGO_SECRET_KEY"]) >= 50


def test_rotate_keeps_the_former_password_when_the_server_refuses_the_new_one(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accept(password: Password, *_: object) -> None:
        raise StackctlError("no room")

    before = stack.env.read_bytes()
    monkeypatch.setattr(Password, "accept", accept)

    with pytest.raises(StackctlError, match="no room"):
        stack.rotate("all")

    left = {n: v for n, v in stack.values().items() if n != rotate.FALLBACKS}
    assert left == dict(dotenv.parse(before.decode()).values)
    assert stack.seen == []


def test_rotate_all_keeps_changed_passwords_when_another_server_fails(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has one password: a server with the former one would be refused."""
    accept = Password.accept

    def accept_none_of_broker(password: Password, project: compose.Project, word: str) -> None:
        if password.name == "broker":
            raise StackctlError("no room")
        accept(password, project, word)

    with monkeypatch.context() as broken:
        broken.setattr(Password, "accept", accept_none_of_broker)
        with pytest.raises(StackctlError, match="no room"):
            stack.rotate("all")

    begun = stack.values()
    assert begun["BROKER_PASSWORD"] == FORMER
    for name in ("redis", "db"):
        assert stack.accepted[name] == {FORMER, begun[PASSWORDS[name].variable]} != {FORMER}
    stack.check_no_client_is_refused()

    stack.rotate("all")

    stack.check_rotated(stack.values(), *PASSWORDS)
    assert stack.values()["DB_PASSWORD"] == begun["DB_PASSWORD"]


@pytest.mark.parametrize("running", [True, False])
def test_rotate_applies_a_password_changed_by_hand_in_dotenv(stack: Stack, running: bool) -> None:
    stack.running = running
    dotenv_file.update({"DB_PASSWORD": "by hand"})

    (check,) = preflight.refused_passwords(stack.project())
    assert check.name == "DB_PASSWORD"
    assert check.hint.startswith("./stackctl rotate db ")

    stack.rotate("db")

    assert stack.values()["DB_PASSWORD"] == "by hand"
    assert stack.accepted["db"] == {"by hand"}
    assert bool(stack.seen) == running
    assert preflight.refused_passwords(stack.project()) == []


def test_rotate_keeps_the_former_password_while_only_a_worker_runs(stack: Stack) -> None:
    stack.clients["server2"] = replace(stack.clients["server2"], running=False)
    dotenv_file.update({"DB_PASSWORD": "by hand"})

    stack.rotate("db")

    assert stack.accepted["db"] == {FORMER, "by hand"}


def test_rotate_does_not_refuse_clients_when_the_server_has_a_newer_password(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = "newer"
    stack.accepted["db"] = {primary, FORMER}

    def accept(_: Password, __: object, word: str) -> None:
        # As in MySQL: the primary password becomes the only former one.
        nonlocal primary
        stack.accepted["db"], primary = {primary, word}, word

    def retire(_: Password, __: object, word: str) -> None:
        nonlocal primary
        stack.accepted["db"], primary = {word}, word

    monkeypatch.setattr(Password, "accept", accept)
    monkeypatch.setattr(Password, "retire", retire)

    stack.rotate("db")

    stack.check_rotated(stack.values(), "db")


def test_rotate_changes_nothing_when_servers_run_different_releases(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "load", fake_project)
    stack.clients["server10"] = replace(stack.clients["server2"], image="sha256:2")

    problem = "the servers run different releases"
    assert "./stackctl deploy" in refuse(stack, "all", problem).hint
    assert set(stack.accepted["db"]) == {FORMER}


def test_rotate_applies_every_password_in_dotenv_before_it_recreates_servers(stack: Stack) -> None:
    """Recreated servers use all of them, also those that the command does not name."""
    dotenv_file.update({"DB_PASSWORD": "by hand", "REDIS_PASSWORD": "as well"})

    stack.rotate("redis")

    assert stack.accepted["db"] == {"by hand"}
    assert stack.accepted["redis"] == {"as well"}
    assert stack.values()["BROKER_PASSWORD"] == FORMER


def refuse(
    stack: Stack, name: str, problem: str, error: type[StackctlError] = StackctlError
) -> StackctlError:
    """Assert that a rotation is refused and changes nothing."""
    before = stack.env.read_bytes()
    with pytest.raises(error, match=problem) as refused:
        stack.rotate(name)
    assert refused.value.hint
    assert FORMER not in str(refused.value) + refused.value.hint
    assert stack.env.read_bytes() == before
    assert stack.seen == []
    return refused.value


def test_rotate_refuses_a_secret_that_is_not_in_dotenv(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", FORMER)
    refuse(stack, "all", "DB_PASSWORD comes from this shell's environment")
    monkeypatch.delenv("DB_PASSWORD")

    monkeypatch.setenv("REDIS_PASSWORD_FILE", "/run/secrets/redis")
    refuse(stack, "redis", "REDIS_PASSWORD comes from REDIS_PASSWORD_FILE")
    monkeypatch.delenv("REDIS_PASSWORD_FILE")
    dotenv_file.update({"REDIS_PASSWORD_FILE": "/run/secrets/redis"})
    refuse(stack, "redis", "REDIS_PASSWORD comes from REDIS_PASSWORD_FILE")
    dotenv_file.update({"REDIS_PASSWORD_FILE": ""})

    dotenv_file.update({"DJANGO_SECRET_KEY": f"{FORMER},{FORMER}"})
    refuse(stack, "secret-key", "DJANGO_SECRET_KEY has a comma")
    dotenv_file.update({"DJANGO_SECRET_KEY": f"{FORMER} "})
    refuse(stack, "secret-key", "a space at its end")
    stack.given["DJANGO_SECRET_KEY"] = "another"
    refuse(stack, "secret-key", "from elsewhere than .env")


def test_password_rotates_next_to_a_secret_key_that_cannot_be_rotated(stack: Stack) -> None:
    dotenv_file.update({"DJANGO_SECRET_KEY": "with,comma"})
    stack.clients = {
        name: replace(client, environ=stack.values()) for name, client in stack.clients.items()
    }

    stack.rotate("db")

    stack.check_rotated(stack.values(), "db")


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("db", "DATABASE_URL", "mysql://elsewhere/db"),
        ("db", "DB_HOST", "elsewhere"),
        ("redis", "REDIS_URL", "redis://elsewhere"),
        ("broker", "CELERY_BROKER_URL", "amqp://elsewhere"),
    ],
)
def test_rotate_refuses_a_server_outside_the_stack(
    stack: Stack, name: str, variable: str, value: str
) -> None:
    stack.given[variable] = value

    refuse(stack, name, "uses another server")


def test_rotate_refuses_a_name_without_a_secret(stack: Stack) -> None:
    refuse(stack, "nosuch", "no secret 'nosuch'", UsageError)
    stack.given["BROKER"] = "redis"
    assert "rotate redis" in refuse(stack, "broker", "the broker is redis", UsageError).hint
    stack.given["BROKER"] = "kafka"
    refuse(stack, "broker", "the broker is kafka", UsageError)
    # Without a separate broker, there is no broker password.
    stack.rotate("all")
    assert stack.values()["BROKER_PASSWORD"] == FORMER


@pytest.mark.parametrize("name", ["all", "secret-key", "db"])
def test_rotate_refuses_new_secrets_while_the_stack_is_stopped(stack: Stack, name: str) -> None:
    stack.running = False

    assert refuse(stack, name, "not running").hint == "./stackctl up"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the path of `.env`."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    yield tmp_path / ".env"
    assert [path.name for path in tmp_path.iterdir() if path.name != "real"] == [".env"]


def test_dotenv_update_keeps_other_lines(env: Path) -> None:
    env.write_text("# A=comment\nA='old' # why\nexport B=1\nA=later\nexport D=old")

    dotenv_file.update({"A": "it's", "C": "new", "D": "2"})

    assert env.read_text() == '# A=comment\nA="it\'s"\nexport B=1\nD=2\nC=new\n'
    assert dict(dotenv.read(env).values) == {"A": "it's", "B": "1", "C": "new", "D": "2"}


def test_dotenv_update_creates_a_private_file(env: Path) -> None:
    dotenv_file.update({"A": "1"})

    assert env.read_text() == "A=1\n"
    assert env.stat().st_mode & 0o777 == 0o600


def test_dotenv_update_writes_through_a_link_and_keeps_the_file_on_a_full_disk(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = env.with_name("real")
    real.write_text("A=1\n")
    env.symlink_to(real)

    dotenv_file.update({"A": "2"})
    assert env.is_symlink() and real.read_text() == "A=2\n"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dotenv_file.update({"A": "3"})
    assert real.read_text() == "A=2\n"
