"""`stackctl deploy`, run whole: what a good release does in order, and how each bad one ends."""

from typing import Any

import pytest

from tests.unit.scripted.balancer import profile
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails, interrupts

BEGUN = ["lock deploy", "write owner", "write releases found", "write releases started"]


def rolled(server: str, release: str) -> list[str]:
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
        *(*BEGUN, "build bbbb", "lint migrations", "migrate", "keep static bbbb", "ask server1"),
        *(*rolled("server1", "bbbb"), *rolled("server2", "bbbb")),
        *("name bbbb latest", "recreate worker bbbb", "name bbbb latest", "write releases ok"),
    ]
    assert stack.serves("bbbb") and stack.locks == {}
    assert stack.data.applied == ["shop.0001", "shop.0002"]
    assert [line[1:] for line in stack.record()][::2] == [("aaaa", "found"), ("bbbb", "ok")]
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


def test_deploy_recreates_what_has_another_configuration_alone(stack: Stack) -> None:
    stack.extra["worker"] = {"mem_limit": "1g"}

    stack.deploy("aaaa")

    assert [step for step in stack.steps if "recreate" in step] == ["recreate worker aaaa"]


def test_drain_waits_until_running_requests_have_ended(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 7.0]}
    at: list[float] = []
    stack.faults["recreate server1 bbbb"] = lambda: at.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    # And a few quiet looks.
    assert at[0] >= 1007.4
    assert "mark server1 drained" in stack.steps


def test_drain_waits_until_the_queue_of_the_server_is_empty(stack: Stack) -> None:
    stack.balancer.waiting = {"server1": stack.clock.now + 7.0}
    at: list[float] = []
    stack.faults["recreate server1 bbbb"] = lambda: at.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    assert at[0] >= 1007.4


def test_server_is_drained_again_when_haproxy_forgets_it(stack: Stack) -> None:
    """A restart of HAProxy, or a reload by hand, keeps no server's state."""
    stack.balancer.requests = {"server1": [stack.clock.now + 7.0]}
    stack.clock.plan(3, stack.balancer.admin.clear)
    drained: list[set[str]] = []
    stack.faults["recreate server1 bbbb"] = lambda: drained.append(stack.balancer.drained())

    assert stack.deploy("bbbb").code == 0
    assert drained == [{"server1"}]


def test_drain_gives_up_on_a_request_that_never_ends(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 9000.0]}

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and stack.serves("bbbb")
    assert "server1: 1 requests still run after 25 s" in ended.err
    # It waits for the request itself.
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
        "/healthz calls down what was up before: database (gone)",
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
    assert "Every server is back on the release before, and serves." in ended.result["next"]
    assert "Its migrations are applied, and stay: shop.0002." in ended.result["next"]
    assert stack.serves("aaaa") and stack.locks == {}
    assert stack.record()[-1] == ("deploy", "bbbb", "rolled back")
    # What never served is no target of a rollback, and its image goes.
    assert "shop-local:bbbb" not in stack.images
    # The last one first, and none that was not touched.
    back = [step for step in stack.steps if step.startswith("recreate") and "aaaa" in step]
    touched = ["server1", "server2"][: int(server[-1])]
    assert back == [f"recreate {name} aaaa" for name in reversed(touched)]


def test_a_worker_that_fails_rolls_all_back(stack: Stack) -> None:
    stack.behave("bbbb", "worker", ends=True)

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert "worker: its container ended by itself" in ended.result["error"]
    assert stack.serves("aaaa")
    back = [step for step in stack.steps if step.startswith("recreate") and "aaaa" in step]
    assert back == [f"recreate {name} aaaa" for name in ("worker", "server2", "server1")]


def test_a_container_that_compose_does_not_start_or_that_goes_is_rolled_back(stack: Stack) -> None:
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


def test_each_server_is_rolled_back_to_what_it_ran(stack: Stack) -> None:
    """Not to what compose would start, where an earlier deploy was cut off."""
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
def test_a_release_may_answer_a_few_errors_while_it_is_watched(
    stack: Stack, traffic: float, share: float, good: bool
) -> None:
    """At most a tenth of the answers, or two of them."""
    stack.balancer.traffic = traffic
    stack.behave("bbbb", errors=share)

    assert stack.deploy("bbbb").code == (0 if good else 3)


def test_errors_count_as_long_as_the_watch_lasts(stack: Stack) -> None:
    stack.balancer.traffic = 1
    stack.behave("bbbb", errors=1.0)

    assert stack.deploy("bbbb", "--watch-seconds", "1").code == 0
    assert stack.deploy("cccc", "--watch-seconds", "8").code == 0
    stack.behave("dddd", errors=1.0)
    ended = stack.deploy("dddd", "--watch-seconds", "8")
    assert ended.code == 3 and "8 of its first 8 answers" in ended.result["error"]


def test_a_server_that_goes_down_while_it_is_watched_is_rolled_back(stack: Stack) -> None:
    def visit(path: str) -> tuple[int, str]:
        answer = stack.balancer.answer(path)
        if answer == (200, profile("set1", "bbbb")):
            stack.containers["server1"].health = "unhealthy"
        return answer

    stack.visitors_get(visit)

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and "server1: HAProxy took it out again: DOWN" in ended.result["error"]
    assert stack.serves("aaaa")


def test_a_server_that_haproxy_does_not_take_back_is_rolled_back(stack: Stack) -> None:
    stack.faults["ready server1"] = lambda: setattr(
        stack.containers["server1"], "health", "unhealthy"
    )

    ended = stack.deploy("bbbb")

    # The release before fails in the same way: one server serves.
    assert ended.code == 4
    assert "server1: HAProxy does not take it into service: DOWN" in ended.result["error"]
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
def test_a_release_that_visitors_do_not_get_is_rolled_back(
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
def test_one_answer_is_enough_where_visitors_cannot_see_the_server(
    stack: Stack, answer: tuple[int, str]
) -> None:
    """/profile/ redirects or hides it, or HAProxy sends each address to one server."""
    if "set3" in answer[1]:
        stack.extra["haproxy"] = {"environment": {"HAPROXY_BALANCE": "source"}}
    stack.visitors_get(lambda _: answer)

    assert stack.deploy("bbbb").code == 0


def test_what_was_down_before_is_no_fault_of_a_release(stack: Stack) -> None:
    stack.behave("aaaa", answers={"/healthz": (503, DOWN)})
    stack.behave("bbbb", answers={"/healthz": (503, DOWN)})

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and "database is down already: gone" in ended.err


def test_a_release_cannot_be_called_latest(stack: Stack) -> None:
    ended = stack.run("deploy", "--json", "--release", "latest")

    assert ended.code == 2 and "cannot be a release's name" in ended.result["error"]
    assert set(stack.steps) <= {"lock deploy", "write owner"}


def test_an_image_that_cannot_be_built_touches_nothing(stack: Stack) -> None:
    stack.faults["build bbbb"] = fails("no space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert ended.result["error"] == "the image cannot be built; nothing was changed"
    assert "no space left on device" in ended.err
    assert stack.record()[-1] == ("deploy", "bbbb", "failed")
    assert stack.serves("aaaa") and not any("drain" in step for step in stack.steps)


def test_incompatible_migrations_are_refused_unless_allowed(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.data.findings = {
        "errors": {"shop.0002": ["it drops a column"], "shop.0003": ["it drops a table"]},
        "warnings": {"shop.0002": ["it runs Python"]},
    }

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert "cannot live with these migrations; nothing was changed" in ended.result["error"]
    errors = "shop.0002: it drops a column\nshop.0003: it drops a table\n"
    assert ended.result["next"].startswith(errors)
    assert "./stackctl deploy --allow-incompatible" in ended.result["next"]
    assert "warning: migration shop.0002: it runs Python" in ended.err
    assert "migrate" not in stack.steps and stack.serves("aaaa")
    assert stack.record()[-1][2] == "failed"

    ended = stack.deploy("bbbb", "--allow-incompatible")
    assert ended.code == 0
    assert "incompatible, but allowed: shop.0002: it drops a column" in ended.err


def test_the_first_migrations_of_an_empty_database_break_nothing(stack: Stack) -> None:
    stack.data.applied = []
    stack.data.migrations["bbbb"] = ["shop.0001"]
    stack.data.findings = {"errors": {"shop.0001": ["NOT NULL"]}}

    assert stack.deploy("bbbb").code == 0


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("mysql:9.7", "MySQL cannot undo a change of a table"),
        ("postgres:17", "PostgreSQL has undone all of it"),
    ],
)
def test_a_failed_migration_is_on_record_and_says_what_was_applied(
    stack: Stack, image: str, words: str
) -> None:
    stack.extra["db"] = {"image": image}
    stack.data.accepted["postgres.sh"] = ["a-password"]
    stack.data.migrations["bbbb"] = ["shop.0002", "shop.0003", "shop.0004"]
    stack.data.migration_fails = (1, 1, "Applying shop.0003...\nOperationalError: no column")

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert ended.result["error"].startswith("a migration failed\n")
    assert "no server was touched" in ended.result["error"]
    assert ended.result["next"].splitlines() == [
        "Applied, and they stay: shop.0002.",
        next(line for line in ended.result["next"].splitlines() if words in line),
        "Not tried: shop.0004.",
    ]
    assert "Failed: shop.0003. " in ended.result["next"]
    assert "OperationalError: no column" in ended.err
    assert stack.serves("aaaa") and not any("drain" in step for step in stack.steps)
    last = stack.run("releases", "--json").result["releases"][0]
    assert last["outcome"] == "failed" and "they stay: shop.0002." in last["note"]


def test_a_migration_that_waited_for_a_lock_says_who_has_it(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    words = "migrate: waiting for 1.2.3.4\nApplying shop.0002...CommandError: 1.2.3.4 holds it\n"
    stack.data.migration_fails = (0, 75, words)

    ended = stack.deploy("bbbb")

    assert "a migration waited for a lock: 1.2.3.4 holds it" in ended.result["error"]
    assert "Applied, and they stay: none." in ended.result["next"]
    # At once, not with the last lines alone.
    assert "Z migrate: waiting for 1.2.3.4\n" in ended.err


def test_a_release_that_cannot_list_its_migrations_touches_nothing(stack: Stack) -> None:
    stack.faults["lint migrations"] = lambda: Reply(1, "ImportError: no module", "")

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert "cannot list its migrations (exit code 1); nothing was changed" in ended.result["error"]
    assert "ImportError: no module" in ended.err
    assert "Is the database up? `./stackctl status`." in ended.result["next"]


def test_what_was_applied_is_not_known_without_a_database(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.data.migration_fails = (0, 1, "gone")
    stack.faults["state migrations"] = fails("no database")

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert "is unknown: the database does not answer" in ended.result["next"]


def test_static_files_that_cannot_be_kept_touch_no_server(stack: Stack) -> None:
    stack.faults["keep static bbbb"] = fails("no space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")
    assert "the release's static files cannot be kept" in ended.result["error"]
    assert "no space left on device" in ended.err and "`docker system df -v` shows" in ended.err
    assert not any("drain" in step for step in stack.steps)


@pytest.mark.parametrize(
    ("allowed", "host"), [("*", "localhost"), (".shop.example, b.example", "shop.example")]
)
def test_a_release_is_asked_by_a_name_that_it_answers_to(
    stack: Stack, allowed: str, host: str
) -> None:
    (stack.root / ".env").write_text(f'DJANGO_ALLOWED_HOSTS="{allowed}"\n')

    assert stack.deploy("bbbb").code == 0
    assert stack.hosts == {host}
