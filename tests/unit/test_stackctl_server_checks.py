"""What `deploy` waits for and asks of each new server before it gets requests."""

import pytest

from tests.unit.scripted.model import Container
from tests.unit.scripted.stack import Stack


def test_deploy_waits_until_haproxy_has_the_new_server_s_address(stack: Stack) -> None:
    """Its status and its checks may be those of the former container for a moment."""
    stale, asked = stack.balancer.stale, list[float]()
    stack.faults["recreate server1 bbbb"] = lambda: stale.update(server1=stack.clock.now + 9)
    stack.faults["ask server1"] = lambda: asked.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    # The first is about the release before.
    assert min(asked[1:]) >= stale["server1"]


def test_deploy_rolls_back_where_haproxy_keeps_a_former_address(stack: Stack) -> None:
    stack.faults["recreate server1 bbbb"] = lambda: stack.balancer.stale.update(server1=9e9)
    stack.faults["recreate server1 aaaa"] = stack.balancer.stale.clear

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")
    assert (
        "HAProxy does not see it up within 30 s: DRAIN, L7OK, at 10.0.0.9" in ended.result["error"]
    )


def test_deploy_asks_a_new_server_for_each_page_twice(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has several processes, and not all of them may be well."""
    answer, asked = stack.answer, list[str]()

    def second_is_bad(container: Container, path: str) -> tuple[int, str]:
        if container.service != "server1" or container.environ["RELEASE"] != "bbbb":
            return answer(container, path)
        asked.append(path)
        return (500, "") if path == "/" and asked.count("/") == 2 else answer(container, path)

    monkeypatch.setattr(stack, "answer", second_is_bad)

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and "/ answers 500" in ended.result["error"] and stack.serves("aaaa")
