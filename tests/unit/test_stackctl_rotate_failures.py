"""`stackctl rotate` in a scripted stack: what it refuses, and what a failure leaves."""

import pytest

from ops.environment import dotenv
from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Ended, Stack, interrupts


def rotate(stack: Stack, name: str = "db") -> Ended:
    return stack.run("rotate", name, "--json")


def silence(stack: Stack, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Let a server answer no question about its password."""
    password = stack.data.password

    def answer(script: str, action: str, text: str) -> Reply:
        if script == server:
            return Reply(1, err="connection refused")
        return password(script, action, text)

    monkeypatch.setattr(stack.data, "password", answer)


def written(stack: Stack) -> dict[str, str]:
    return dict(dotenv.read(stack.root / ".env").values)


def test_rotate_writes_no_secret_when_its_server_does_not_answer(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(stack, monkeypatch, "mysql.sh")
    before = written(stack)

    ended = rotate(stack)

    assert ended.code == 1 and written(stack) == before and not stack.locks
    assert ended.result["error"] == "db does not answer: connection refused"
    assert ended.result["next"] == "docker compose logs --tail 30 db"


def test_rotate_of_one_server_needs_no_other_that_is_down(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(stack, monkeypatch, "mysql.sh")

    ended = rotate(stack, "redis")

    assert ended.code == 0 and ended.result["rotated"] == ["REDIS_PASSWORD"]
    assert "rotated: REDIS_PASSWORD; the new values are in .env" in ended.err
    assert stack.data.accepted["redis.sh"] == [written(stack)["REDIS_PASSWORD"]]


@pytest.mark.parametrize("name", ["redis", "secret-key"])
def test_rotation_is_recorded(stack: Stack, name: str) -> None:
    assert rotate(stack, name).code == 0

    assert stack.record()[-1] == (f"rotate {name}", "aaaa", "ok")


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_rotate_is_refused_when_one_server_is_stopped(stack: Stack, server: str) -> None:
    stack.end(server)

    ended = rotate(stack)

    assert ended.code == 1 and "not every server is in service" in ended.result["error"]


def test_rotation_that_went_back_is_recorded_as_such(stack: Stack) -> None:
    def bad_once() -> None:
        stack.containers["server2"].health = "unhealthy"
        stack.faults.clear()

    stack.faults["ready server2"] = bad_once

    ended = rotate(stack)

    assert ended.code == 1 and not stack.balancer.drained()
    assert stack.record()[-1] == ("rotate db", "aaaa", "rolled back")
    assert rotate(stack).code == 0


def test_interrupted_rotation_is_recorded_as_such(stack: Stack) -> None:
    stack.faults["recreate server2 aaaa"] = interrupts

    ended = rotate(stack)

    assert ended.code == 130 and not stack.balancer.drained()
    assert stack.record()[-1] == ("rotate db", "aaaa", "interrupted")
    assert rotate(stack).code == 0


def test_rotate_replaces_a_file_that_was_left_half_written(stack: Stack) -> None:
    left = stack.root / ".env.new"
    left.write_text("DB_PASS")

    assert rotate(stack).code == 0
    assert not left.exists() and written(stack)["DB_PASSWORD"] != "a-password"
