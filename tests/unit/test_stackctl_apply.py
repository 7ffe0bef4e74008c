"""`./stackctl apply`: a changed `.env` on a running site."""

from collections.abc import Callable

import pytest

from ops.environment.secret_files import CHANGED
from tests.unit.scripted.engine import APPLICATION
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE, NAME
from tests.unit.scripted.stack import Ended, Killed, Stack, fails, interrupts

VALUE = "smtp://user:a-password@mail.example.com"
START = "start server1 server2 worker aaaa next to it"


@pytest.fixture
def changed(stack: Stack) -> Stack:
    """Return a stack whose `.env` has another value since its start, with memory for a surge."""
    stack.replicas.available = 8_000_000
    write(stack, f"EMAIL_URL={VALUE}")
    return stack


def write(stack: Stack, *lines: str) -> None:
    (stack.root / ".env").write_text("\n".join(["LAYER=local", *lines, ""]))


def apply(stack: Stack) -> Ended:
    return stack.run("apply", "--json")


def variables(stack: Stack) -> set[str]:
    """Return the value in each container of the application."""
    return {stack.containers[name].environ.get("EMAIL_URL", "") for name in APPLICATION}


def test_apply_starts_servers_with_the_present_variables_and_builds_nothing(
    changed: Stack,
) -> None:
    changed.commit = "bbbb"

    ended = apply(changed)

    assert ended.code == 0 and variables(changed) == {VALUE}
    assert START in changed.steps and changed.serves("aaaa") and not changed.replicas.others
    assert not any("build" in step or "migrat" in step for step in changed.steps)
    assert "changed: EMAIL_URL\n" in ended.err
    assert "a-password" not in ended.err + ended.out
    assert ended.result == {
        **{"action": "apply", "project": NAME, "release": "aaaa", "changed": True, "code": 0},
        **{"servers": {"server1": "aaaa", "server2": "aaaa"}, "variables": ["EMAIL_URL"]},
    }


def test_apply_without_a_change_leaves_the_servers_alone(changed: Stack) -> None:
    apply(changed)

    ended = apply(changed)

    assert ended.code == 0 and ended.result["changed"] is False
    assert ended.result["variables"] == []
    assert "every server and worker runs with the present variables" in ended.err
    assert changed.steps == ["lock apply"]


def test_apply_names_a_variable_that_is_not_set_any_more(changed: Stack) -> None:
    apply(changed)
    write(changed)
    changed.extra["server1"] = {"environment": {**environment(changed), "EMAIL_URL": None}}

    ended = apply(changed)

    assert ended.result["variables"] == ["EMAIL_URL"]


def environment(stack: Stack) -> dict[str, str]:
    given: dict[str, str] = stack.model()["services"]["server1"]["environment"]
    return given


def test_apply_replaces_servers_whose_secret_is_in_a_changed_file(stack: Stack) -> None:
    stack.environment_check = Reply(out=CHANGED)

    ended = apply(stack)

    assert ended.code == 0 and ended.result["changed"] is True
    assert "changed: a secret in a file\n" in ended.err
    assert "recreate server2 aaaa" in stack.steps


def test_apply_names_the_compose_files_where_no_variable_changed(stack: Stack) -> None:
    stack.extra["worker"] = {"mem_limit": "1g"}

    assert "changed: the compose files\n" in apply(stack).err
    assert "recreate worker aaaa" in stack.steps


def test_apply_refuses_while_servers_run_different_releases(changed: Stack) -> None:
    changed.faults["move server1 to bbbb"] = interrupts
    changed.deploy("bbbb")

    ended = apply(changed)

    assert ended.code == 1 and "the servers run different releases" in ended.result["error"]
    assert "nothing was changed" in ended.result["error"]
    assert "./stackctl deploy, then apply again" in ended.result["next"]


def test_value_that_servers_fail_with_gets_no_request(changed: Stack) -> None:
    before = {name: container.id for name, container in changed.containers.items()}
    changed.faults[START] = fails("port is already allocated")

    ended = apply(changed)

    assert ended.code == 3 and "apply of aaaa failed: server1: " in ended.result["error"]
    assert (
        ended.result["next"] == "Every server is in service. Correct .env, then ./stackctl apply."
    )
    assert {name: container.id for name, container in changed.containers.items()} == before
    assert changed.record()[-1] == ("apply", "aaaa", "rolled back")


def kills() -> None:
    raise Killed


@pytest.mark.parametrize("cut_off", [interrupts, kills])
def test_apply_resumes_an_apply_that_was_cut_off(roomy: Stack, cut_off: Callable[[], None]) -> None:
    """Only the content of a secret's file, which no container shows, tells the servers apart."""
    before = {container.id for container in roomy.containers.values()}
    roomy.environment_check = Reply(out=CHANGED)
    roomy.faults["move server1 to aaaa"] = cut_off
    first = apply(roomy)
    roomy.faults.clear()
    roomy.environment_check = Reply()
    if cut_off is interrupts:
        assert first.code == 130 and "./stackctl apply resumes" in first.result["next"]

    ended = apply(roomy)

    assert ended.code == 0 and START in roomy.steps and roomy.serves("aaaa")
    assert not before & {roomy.containers[name].id for name in APPLICATION}
    assert roomy.record()[-1] == ("apply", "aaaa", "ok")


def test_apply_names_a_variable_of_the_worker_alone(stack: Stack) -> None:
    own = stack.model()["services"]["worker"]["environment"]
    stack.extra["worker"] = {"environment": {**own, "WORKER_MEMORY": "9"}}

    assert apply(stack).result["variables"] == ["WORKER_MEMORY"]


def test_apply_starts_a_worker_that_is_missing(changed: Stack) -> None:
    del changed.containers["worker"]

    ended = apply(changed)

    assert ended.code == 0 and ended.result["variables"] == ["EMAIL_URL"]
    assert variables(changed) == {VALUE}


def test_apply_is_refused_on_a_machine_with_an_old_engine(changed: Stack) -> None:
    changed.info = {"ServerVersion": "20.10.5"}

    ended = apply(changed)

    assert ended.code == 1 and "20.10.5" in ended.err + ended.out and changed.steps == []


def test_image_that_only_compose_names_can_be_rolled_back_to_after_apply(changed: Stack) -> None:
    """`docker compose up --build` has left it no other name than `latest`."""
    del changed.images[f"{IMAGE}:aaaa"]

    assert apply(changed).code == 0

    assert changed.images[f"{IMAGE}:aaaa"] == "sha256:aaaa"


def test_rollback_after_apply_goes_to_the_release_before(changed: Stack) -> None:
    write(changed)
    changed.deploy("bbbb")
    write(changed, f"EMAIL_URL={VALUE}")
    apply(changed)

    assert changed.run("rollback", "--json").code == 0

    assert changed.serves("aaaa") and variables(changed) == {VALUE}


@pytest.mark.parametrize("cut_off", [interrupts, kills])
def test_rollback_after_a_cut_off_apply_goes_to_the_release_before(
    changed: Stack, cut_off: Callable[[], None]
) -> None:
    changed.deploy("bbbb")
    write(changed, "WEB_CONCURRENCY=3")
    changed.faults["move server1 to bbbb"] = cut_off
    apply(changed)
    changed.faults.clear()

    assert changed.run("rollback", "--json").code == 0
    assert changed.serves("aaaa") and not changed.replicas.others
