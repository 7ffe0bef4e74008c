"""`stackctl deploy` from start to end: the steps of a good release, and bad releases."""

from typing import Any

import pytest

from tests.unit.scripted.balancer import profile
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails, interrupts

BEGIN = ["lock deploy", "write owner", "write releases ok", "write releases started"]


def server_steps(server: str, release: str) -> list[str]:
    """Return the steps of one server."""
    return [
        *(f"drain {server}", f"mark {server} drained", f"name {release} latest"),
        *(f"recreate {server} {release}", f"ask {server}", f"ready {server}"),
    ]


def test_deploy_migrates_then_replaces_one_server_at_a_time(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]

    ended = stack.deploy("bbbb")

    assert ended.code == 0
    assert stack.steps == [
        *(*BEGIN, "build bbbb", "lint migrations", "migrate", "keep static bbbb", "ask server1"),
        *(*server_steps("server1", "bbbb"), *server_steps("server2", "bbbb")),
        *("name bbbb latest", "recreate worker bbbb", "name bbbb latest", "write releases ok"),
    ]
    assert stack.serves("bbbb") and stack.locks == {}
    assert stack.data.applied == ["shop.0001", "shop.0002"]
    assert [line[1:] for line in stack.record()][::2] == [("aaaa", "ok"), ("bbbb", "ok")]
    assert ended.result == {
        **{"action": "deploy", "project": NAME, "release": "bbbb", "changed": True, "code": 0},
        "servers": {"server1": "bbbb", "server2": "bbbb"},
    }


def test_deploy_of_the_running_release_changes_nothing_unless_forced(stack: Stack) -> None:
    ended = stack.deploy("aaaa")

    assert (ended.code, ended.result["changed"]) == (0, False)
    assert "every server runs aaaa already" in ended.err
    assert not any("drain" in step or "name" in step for step in stack.steps)

    assert stack.deploy("aaaa", "--force").result["changed"] is True
    assert [step for step in stack.steps if "recreate" in step] == [
        "recreate server1 aaaa",
        "recreate server2 aaaa",
        "recreate worker aaaa",
    ]


def test_deploy_recreates_only_services_with_another_configuration(stack: Stack) -> None:
    stack.extra["worker"] = {"mem_limit": "1g"}

    stack.deploy("aaaa")

    assert [step for step in stack.steps if "recreate" in step] == ["recreate worker aaaa"]


def test_deploy_drains_until_running_requests_have_ended(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 7.0]}
    recreated: list[float] = []
    stack.faults["recreate server1 bbbb"] = lambda: recreated.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    # Plus some checks without requests.
    assert recreated[0] >= 1007.4
    assert "mark server1 drained" in stack.steps


def test_deploy_drains_until_the_queue_of_the_server_is_empty(stack: Stack) -> None:
    stack.balancer.waiting = {"server1": stack.clock.now + 7.0}
    recreated: list[float] = []
    stack.faults["recreate server1 bbbb"] = lambda: recreated.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    assert recreated[0] >= 1007.4


def test_deploy_drains_a_server_again_when_haproxy_lost_its_state(stack: Stack) -> None:
    """A restart or manual reload of HAProxy loses the state of servers."""
    stack.balancer.requests = {"server1": [stack.clock.now + 7.0]}
    stack.clock.plan(3, stack.balancer.admin.clear)
    drained: list[set[str]] = []
    stack.faults["recreate server1 bbbb"] = lambda: drained.append(stack.balancer.drained())

    assert stack.deploy("bbbb").code == 0
    assert drained == [{"server1"}]


def test_deploy_stops_draining_after_the_request_timeout(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 9000.0]}

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and stack.serves("bbbb")
    assert "server1: 1 requests still run after 25 s" in ended.err
    # The server itself then waits for the request.
    assert "mark server1 drained" not in stack.steps and "mark server2 drained" in stack.steps


DOWN = '{"components": {"database": {"status": "down", "error": "gone"}}}'
BAD_RELEASES: dict[str, tuple[dict[str, Any], str]] = {
    "never healthy": ({"becomes": "starting"}, "it was not healthy within 120 s"),
    "unhealthy": ({"becomes": "unhealthy"}, "it is unhealthy"),
    "ends": ({"ends": True}, "its container ended by itself"),
    "raises": (
        {"ends": True, "log": "Traceback (most recent call last):\n  File x\nKeyError: 'A'"},
        "its container ended by itself: KeyError: 'A'",
    ),
    "not reached": ({"check": "L4CON"}, "HAProxy does not see it up within 30 s: DOWN, L4CON"),
    "readyz": ({"answers": {"/readyz": (503, "")}}, "/readyz answers 503"),
    "redirects": ({"answers": {"/readyz": (302, "")}}, "/readyz answers 302"),
    "silent": ({"answers": {"/profile/": (0, "timed out")}}, "/profile/ answers nothing"),
    "error page": (
        {"answers": {"/": (500, "<title>Server Error</title>")}},
        "/ answers 500: Server Error",
    ),
    "component": (
        {"answers": {"/healthz": (503, DOWN)}},
        "/healthz reports as down what was up before: database (gone)",
    ),
    "no component": (
        {"answers": {"/healthz": (503, '{"components": {"cache": {"status": "up"}}}')}},
        "/healthz answers 503",
    ),
    "no JSON": ({"answers": {"/healthz": (503, "<html>")}}, "/healthz answers 503: <html>"),
    "other release": ({"release": "aaaa"}, "it answers as release aaaa, not bbbb"),
    "errors": ({"errors": 0.5}, "answers were errors (5xx)"),
}


@pytest.mark.parametrize("server", ["server1", "server2"])
@pytest.mark.parametrize(("facts", "words"), BAD_RELEASES.values(), ids=BAD_RELEASES)
def test_deploy_of_a_bad_release_rolls_back(
    stack: Stack, server: str, facts: dict[str, Any], words: str
) -> None:
    stack.behave("bbbb", server, **facts)
    stack.data.migrations["bbbb"] = ["shop.0002"]

    ended = stack.deploy("bbbb")

    assert ended.code == ended.result["code"] == 3
    assert f"deploy of bbbb failed: {server}: " in ended.result["error"]
    assert words in ended.result["error"]
    assert f"the last lines of {server}:" in ended.err
    assert str(facts.get("log", "ready")).splitlines()[-1] in ended.err
    assert "Every server runs the previous release again." in ended.result["next"]
    assert "Its migrations stay applied: shop.0002." in ended.result["next"]
    assert stack.serves("aaaa") and stack.locks == {}
    assert stack.record()[-1] == ("deploy", "bbbb", "rolled back")
    # A release that never served is no rollback target; its image is removed.
    assert "shop-local:bbbb" not in stack.images
    # In reverse order, and only replaced servers.
    back = [step for step in stack.steps if step.startswith("recreate") and "aaaa" in step]
    touched = ["server1", "server2"][: int(server[-1])]
    assert back == [f"recreate {name} aaaa" for name in reversed(touched)]


def test_deploy_rolls_back_all_services_when_the_worker_fails(stack: Stack) -> None:
    stack.behave("bbbb", "worker", ends=True)

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert "worker: its container ended by itself" in ended.result["error"]
    assert stack.serves("aaaa")
    back = [step for step in stack.steps if step.startswith("recreate") and "aaaa" in step]
    assert back == [f"recreate {name} aaaa" for name in ("worker", "server2", "server1")]


def test_deploy_rolls_back_when_a_container_does_not_start_or_disappears(stack: Stack) -> None:
    stack.faults["recreate server2 bbbb"] = fails("no space left on device")
    ended = stack.deploy("bbbb")
    assert "deploy of bbbb failed: server2: compose could not start it" in ended.result["error"]
    assert "no space left on device" in ended.err and stack.serves("aaaa")

    stack.behave("cccc", healthy_after=10)
    stack.faults["recreate server1 cccc"] = lambda: stack.clock.plan(
        5, lambda: stack.containers.pop("server1")
    )
    ended = stack.deploy("cccc")
    assert "deploy of cccc failed: server1: its container is gone" in ended.result["error"]
    assert ended.code == 3 and stack.serves("aaaa")


def test_automatic_rollback_returns_each_server_to_the_release_that_it_ran(stack: Stack) -> None:
    """Not to the release that compose would start, after a cut-off deploy."""
    stack.faults["drain server2"] = lambda: interrupts() if stack.commit == "bbbb" else None
    stack.deploy("bbbb")
    ran = stack.releases()
    assert set(ran.values()) == {"aaaa", "bbbb"}
    stack.behave("cccc", "worker", ends=True)

    assert stack.deploy("cccc").code == 3

    assert stack.releases() == ran


@pytest.mark.parametrize(
    ("traffic", "share", "good"),
    [(50, 0.1, True), (50, 0.13, False), (1.5, 1.0, False), (0.9, 1.0, True), (3, 0.4, True)],
)
def test_deploy_tolerates_a_few_5xx_responses_during_the_watch(
    stack: Stack, traffic: float, share: float, good: bool
) -> None:
    """At most a tenth of the responses, or two."""
    stack.balancer.traffic = traffic
    stack.behave("bbbb", errors=share)

    assert stack.deploy("bbbb").code == (0 if good else 3)


def test_deploy_counts_5xx_responses_for_watch_seconds(stack: Stack) -> None:
    stack.balancer.traffic = 1
    stack.behave("bbbb", errors=1.0)

    assert stack.deploy("bbbb", "--watch-seconds", "1").code == 0
    assert stack.deploy("cccc", "--watch-seconds", "8").code == 0
    stack.behave("dddd", errors=1.0)
    ended = stack.deploy("dddd", "--watch-seconds", "8")
    assert ended.code == 3 and "8 of its first 8 answers" in ended.result["error"]


def test_5xx_responses_of_the_release_before_do_not_count_against_a_good_release(
    stack: Stack,
) -> None:
    stack.behave("aaaa", errors=0.5)
    stack.clock.now += 60

    assert stack.deploy("bbbb").code == 0
    assert stack.balancer.counts["server1", "5xx"] > 0


def test_deploy_rolls_back_when_a_server_goes_down_during_the_watch(stack: Stack) -> None:
    def visit(path: str) -> tuple[int, str]:
        answer = stack.balancer.answer(path)
        if answer == (200, profile("set1", "bbbb")):
            stack.containers["server1"].health = "unhealthy"
        return answer

    stack.visitors_get(visit)

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert "server1: HAProxy removed it from service again: DOWN" in ended.result["error"]
    assert stack.serves("aaaa")


def test_deploy_rolls_back_when_haproxy_does_not_mark_the_server_up(stack: Stack) -> None:
    stack.faults["ready server1"] = lambda: setattr(
        stack.containers["server1"], "health", "unhealthy"
    )

    ended = stack.deploy("bbbb")

    # The previous release fails in the same way: one server serves.
    assert ended.code == 4
    assert "server1: HAProxy does not put it into service: DOWN" in ended.result["error"]
    assert "and so did the rollback: server1: HAProxy does not" in ended.result["error"]
    for part in (
        "server1 runs aaaa, server2 runs aaaa",
        "./stackctl ready SERVER",
        "rollback RELE",
    ):
        assert part in ended.result["next"]
    assert not stack.balancer.drained() and stack.record()[-1][2] == "not rolled back"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, "no server"), "it does not answer through HAProxy (last: 503)"),
        ((200, profile("set1", "zzzz")), "through HAProxy it answers as release zzzz"),
        ((200, profile("set2", "aaaa")), "it does not answer through HAProxy (last: 200)"),
    ],
)
def test_deploy_rolls_back_when_the_site_does_not_serve_the_new_release(
    stack: Stack, answer: tuple[int, str], words: str
) -> None:
    def visit(path: str) -> tuple[int, str]:
        new = stack.releases()["server1"] == "bbbb"
        return answer if new else stack.balancer.answer(path)

    stack.visitors_get(visit)

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and words in ended.result["error"]
    assert stack.serves("aaaa")


@pytest.mark.parametrize(
    "answer", [(302, ""), (200, "<html>"), (200, profile("set3", "aaaa"))], ids=str
)
def test_deploy_needs_one_response_of_the_site_when_profile_hides_the_server(
    stack: Stack, answer: tuple[int, str]
) -> None:
    """/profile/ redirects or hides it, or HAProxy balances by source address."""
    if "set3" in answer[1]:
        stack.extra["haproxy"] = {"environment": {"HAPROXY_BALANCE": "source"}}
    stack.visitors_get(lambda _: answer)

    assert stack.deploy("bbbb").code == 0


def test_deploy_ignores_a_component_that_was_down_before(stack: Stack) -> None:
    stack.behave("aaaa", answers={"/healthz": (503, DOWN)})
    stack.behave("bbbb", answers={"/healthz": (503, DOWN)})

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and "database is down already: gone" in ended.err


def test_deploy_refuses_latest_as_a_release_name(stack: Stack) -> None:
    ended = stack.run("deploy", "--json", "--release", "latest")

    assert ended.code == 2 and "cannot be a release's name" in ended.result["error"]
    assert set(stack.steps) <= {"lock deploy", "write owner"}


def test_deploy_with_a_failed_build_changes_nothing(stack: Stack) -> None:
    stack.faults["build bbbb"] = fails("no space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert ended.result["error"] == "the image cannot be built; nothing was changed"
    assert "no space left on device" in ended.err
    assert stack.record()[-1] == ("deploy", "bbbb", "failed")
    assert stack.serves("aaaa") and not any("drain" in step for step in stack.steps)


def test_deploy_replaces_no_server_when_static_files_cannot_be_kept(stack: Stack) -> None:
    stack.faults["keep static bbbb"] = fails("no space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")
    assert "the release's static files cannot be kept" in ended.result["error"]
    assert "no space left on device" in ended.err and "`docker system df -v` shows" in ended.err
    assert not any("drain" in step for step in stack.steps)


@pytest.mark.parametrize(
    ("allowed", "host"), [("*", "localhost"), (".shop.example, b.example", "shop.example")]
)
def test_deploy_requests_a_new_server_with_an_allowed_host(
    stack: Stack, allowed: str, host: str
) -> None:
    (stack.root / ".env").write_text(f'DJANGO_ALLOWED_HOSTS="{allowed}"\n')

    assert stack.deploy("bbbb").code == 0
    assert stack.hosts == {host}
