"""What `rotate` refuses, without a change: other sources, unknown names, a stopped stack."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.rotation import FORMER, Stack
from tests.unit.test_stackctl_parts import fake_project
from tools.stackctl.commands import dotenv_file
from tools.stackctl.commands import stack as stacks
from tools.stackctl.common.faults import StackctlError, UsageError


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Return a running stack."""
    return Stack(tmp_path, monkeypatch)


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


def test_rotate_changes_nothing_when_servers_run_different_releases(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "load", fake_project)
    stack.clients["server10"] = replace(stack.clients["server2"], image="sha256:2")

    problem = "the servers run different releases"
    assert "./stackctl deploy" in refuse(stack, "all", problem).hint
    assert set(stack.accepted["db"]) == {FORMER}
