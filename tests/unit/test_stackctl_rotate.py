"""`rotate` changes secrets while the stack serves; the next run completes one that was cut off."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ops.environment import dotenv
from tests.unit.rotation import FORMER, SECRETS, Stack
from tools.stackctl.checks import preflight
from tools.stackctl.commands import dotenv_file, rotate
from tools.stackctl.common.faults import InterruptedByUserError, StackctlError
from tools.stackctl.docker import compose
from tools.stackctl.inside.passwords import PASSWORDS, Password
from tools.stackctl.releases.server_checks import ServerFailedError


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


@pytest.mark.parametrize(
    ("left", "accepted"),
    [("server2", {"by hand"}), ("worker", {FORMER, "by hand"}), ("", {"by hand"})],
)
def test_rotate_applies_a_changed_password_where_containers_are_missing(
    stack: Stack, left: str, accepted: set[str]
) -> None:
    stack.clients = {name: one for name, one in stack.clients.items() if name == left}
    dotenv_file.update({"DB_PASSWORD": "by hand"})

    stack.rotate("db")

    assert stack.accepted["db"] == accepted


def test_rotate_replaces_the_default_password_that_no_container_is_given(stack: Stack) -> None:
    """In the local layer, whose .env need not name it."""
    stack.forget("broker")

    stack.rotate("broker")

    stack.check_rotated(stack.values(), "broker")


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


def test_rotate_applies_every_password_in_dotenv_before_it_recreates_servers(stack: Stack) -> None:
    """Recreated servers use all of them, also those that the command does not name."""
    dotenv_file.update({"DB_PASSWORD": "by hand", "REDIS_PASSWORD": "as well"})

    stack.rotate("redis")

    assert stack.accepted["db"] == {"by hand"}
    assert stack.accepted["redis"] == {"as well"}
    assert stack.values()["BROKER_PASSWORD"] == FORMER


def test_password_rotates_next_to_a_secret_key_that_cannot_be_rotated(stack: Stack) -> None:
    dotenv_file.update({"DJANGO_SECRET_KEY": "with,comma"})
    stack.clients = {
        name: replace(client, environ=stack.values()) for name, client in stack.clients.items()
    }

    stack.rotate("db")

    stack.check_rotated(stack.values(), "db")
