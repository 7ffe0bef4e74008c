"""`up`, `down`, `adopt` and the site check of doctor from start to end."""

from collections.abc import Callable

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE, NAME
from tests.unit.scripted.stack import Stack, fails, interrupts
from tools.stackctl.commands import stack as commands
from tools.stackctl.docker import compose
from tools.stackctl.docker.engine import INSTALL

KEPT = "keeps its configuration or image"
SERVERS_KEPT = "the running servers keep their release and configuration"


def mixed_images(stack: Stack) -> None:
    stack.build("bbbb")
    stack.containers["server2"].image = "sha256:bbbb"


def newer_image(stack: Stack) -> None:
    stack.images["mysql:9.7"] = "sha256:pulled"


def switched_off(stack: Stack) -> None:
    stack.extra["redis"] = {"scale": 0}


def removed_from_the_project(stack: Stack) -> None:
    stack.extra["broker"] = {"image": "rabbitmq"}
    stack.create("broker")
    del stack.extra["broker"]


def down_and_changed(stack: Stack) -> None:
    stack.extra["haproxy"] = {"mem_limit": "1g"}
    stack.end("haproxy")


def two_changed(stack: Stack) -> None:
    down_and_changed(stack)
    stack.extra |= {"db": {"mem_limit": "1g"}, "redis": {"mem_limit": "1g"}}


def rotated_and_changed(stack: Stack) -> None:
    (stack.root / ".env").write_text("LAYER=local\nDB_PASSWORD=rotated\n")
    stack.data.accepted["mysql.sh"] = ["rotated"]
    for name in ("server1", "server2", "worker"):
        stack.create(name).started -= 3600
    stack.extra["redis"] = {"mem_limit": "1g"}


def other_configuration(stack: Stack) -> None:
    stack.containers["server2"].hash = "another"


@pytest.mark.parametrize(
    ("change", "servers", "services"),
    [
        (mixed_images, True, []),
        (other_configuration, True, []),
        (newer_image, False, ["db"]),
        (switched_off, False, []),
        (removed_from_the_project, False, []),
        (down_and_changed, False, []),
        (two_changed, False, ["db", "redis"]),
        (rotated_and_changed, False, ["redis"]),
    ],
)
def test_up_keeps_services_that_visitors_need_and_recreates_the_rest(
    stack: Stack, change: Callable[[Stack], None], servers: bool, services: list[str]
) -> None:
    change(stack)
    stack.containers["worker"].hash = "another"
    before = {name: container.id for name, container in stack.containers.items()}

    ended = stack.run("up", "--json")

    assert ended.code == 0
    assert (SERVERS_KEPT in ended.err) is servers
    assert [name for name in before if f"warning: {name} {KEPT}" in ended.err] == services
    assert ended.err.count("docker compose up --detach --no-deps") == len(services)
    # Compose recreates all changed services, or none.
    kept = servers or bool(services)
    assert (stack.containers["worker"].id == before["worker"]) is kept
    assert f"http://localhost:{stack.port}/" in ended.err


def test_up_replaces_ended_containers_of_another_configuration(stack: Stack) -> None:
    """Also next to a service that it keeps: started again, they would have a former password."""
    stack.extra["redis"] = {"mem_limit": "1g"}
    stack.end("worker", 0)
    stack.containers["worker"].hash = "another"
    stack.end("server2", 0)
    stack.end("db", 0)
    stack.containers["db"].hash = "another"
    before = {name: stack.containers[name].id for name in ("worker", "server2", "db")}

    ended = stack.run("up")

    assert ended.code == 0 and f"redis {KEPT}" in ended.err
    assert stack.containers["worker"].id != before["worker"]
    # Of the same configuration, or with data.
    assert all(stack.containers[name].id == before[name] for name in ("server2", "db"))


def test_up_prints_no_url_when_haproxy_keeps_its_former_port(stack: Stack) -> None:
    stack.extra["haproxy"] = {"mem_limit": "1g"}

    ended = stack.run("up")

    assert f"haproxy {KEPT}" in ended.err and "http://" not in ended.err


def test_up_names_haproxy_before_the_deploy_that_needs_it(stack: Stack) -> None:
    other_configuration(stack)
    stack.extra["haproxy"] = {"mem_limit": "1g"}

    output = stack.run("up").err

    assert 0 < output.index(f"haproxy {KEPT}") < output.index(SERVERS_KEPT)


def test_up_names_deploy_first_when_servers_are_not_in_the_proxy_network(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stack.model()
    model["networks"]["edge"] = {"name": f"{NAME}_edge"}
    model["services"]["haproxy"]["networks"] = {"backend": None, "edge": None}
    monkeypatch.setattr(stack, "model", lambda: model)
    # A network of its own, such as that of visitors by IPv6, needs no deploy.
    assert "./stackctl deploy first" not in stack.run("up").err

    for name in ("server1", "server2"):
        model["services"][name]["networks"] = {"backend": None, "edge": None}
    assert "./stackctl deploy first, then docker compose up" in stack.run("up").err


def test_up_starts_a_stopped_server_with_the_running_release(stack: Stack) -> None:
    stack.end("server2")
    stack.build("bbbb")
    stack.images[f"{IMAGE}:latest"] = "sha256:bbbb"

    ended = stack.run("up")

    assert ended.code == 0 and stack.serves("aaaa")
    assert f"warning: {IMAGE}:latest is not the release that runs" in ended.err
    assert f"aaaa runs, and is started; the other one is kept as {IMAGE}:bbbb." in ended.err


def test_up_warns_of_a_drained_server_and_of_a_haproxy_that_does_not_answer(stack: Stack) -> None:
    stack.run("drain", "server1")

    ended = stack.run("up")
    assert ended.code == 0
    assert "warning: server1 is drained: ./stackctl ready server1" in ended.err
    assert "server2 is" not in ended.err

    stack.balancer.silent = "no answer within 10 s"
    assert "HAProxy's admin socket does not answer: no answer" in stack.run("up").err


@pytest.mark.parametrize(("recovers", "code"), [(True, 0), (False, 1)])
def test_up_waits_for_a_haproxy_that_was_unhealthy_while_its_servers_were_stopped(
    stack: Stack, recovers: bool, code: int
) -> None:
    haproxy = stack.containers["haproxy"]
    haproxy.health = "unhealthy"
    stack.end("server1")
    words = f"container {NAME}-haproxy-1 is unhealthy"

    def fails_once() -> Reply | None:
        if haproxy.health == "healthy":
            return None
        haproxy.health = "healthy" if recovers else "unhealthy"
        return Reply(1, words, words)

    stack.faults["up"] = fails_once

    assert stack.run("up").code == code
    assert stack.steps.count("up") == (2 if recovers else 1)


def test_failed_up_shows_the_last_10_lines(stack: Stack) -> None:
    stack.faults["up"] = fails("\n".join(f"line {number}" for number in range(1, 21)))

    ended = stack.run("up")

    assert ended.code == 1
    assert "".join(f"    line {number}\n" for number in range(11, 21)) in ended.err
    assert "line 10\n" not in ended.err


def test_failed_down_shows_the_last_30_lines(stack: Stack) -> None:
    stack.faults["down"] = fails("\n".join(f"line {number}" for number in range(1, 41)))

    ended = stack.run("down")

    assert ended.code == 1
    assert "".join(f"    line {number}\n" for number in range(11, 41)) in ended.err
    assert "line 10\n" not in ended.err
    assert "`./stackctl doctor` checks further" in ended.err


@pytest.mark.parametrize("command", ["down", "adopt", "status"])
def test_command_without_docker_names_the_install_page(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "docker" else f"/bin/{name}")

    ended = stack.run(command, "--json")

    assert ended.code == 1 and stack.calls == []
    assert ended.result["error"] == "Docker is not installed"
    assert ended.result["next"] == f"Install it: {INSTALL}"


def test_up_builds_a_folder_without_git_as_unreleased(stack: Stack) -> None:
    stack.before = lambda _: Reply(128) if stack.calls[-1].startswith("git") else None

    ended = stack.run("up", "--build", "--json")

    assert ended.code == 0 and stack.serves("unreleased")
    assert stack.record()[-1] == ("up", "unreleased", "ok")


def test_build_that_no_server_runs_is_not_recorded_as_a_release(stack: Stack) -> None:
    stack.commit = "bbbb"
    stack.faults["up"] = Reply

    assert stack.run("up", "--build").code == 0

    assert stack.releases()["server1"] == "aaaa"
    assert ("up", "bbbb", "ok") not in stack.record()


def test_interrupted_build_changes_nothing(stack: Stack) -> None:
    stack.commit = "bbbb"
    stack.faults["build bbbb"] = interrupts

    ended = stack.run("up", "--build", "--json")

    assert ended.code == 130
    assert "warning: interrupted: stopping as soon as" in ended.err
    assert ended.result["error"] == "interrupted while building; nothing was changed"
    assert stack.serves("aaaa") and "up" not in stack.steps


def test_failed_up_names_the_containers_that_failed(stack: Stack) -> None:
    for name, code in (("migrate", 3), ("env-check", 0), ("certificates", 0)):
        if name == "certificates":
            stack.extra[name] = {"image": "certificates"}
        stack.create(name)
        stack.end(name, code, health="none")
    stack.end("worker", 0, health="none")
    stack.containers["redis"].health = "unhealthy"
    stack.containers["db"].status, stack.containers["db"].health = "created", "none"
    log = [f"log {number}" for number in range(1, 21)]
    stack.behave("aaaa", "migrate", log="\n".join(log))
    stack.faults["up"] = fails("dependency failed to start")

    ended = stack.run("up", "--json")

    lines = ended.result["next"].splitlines()
    assert [line for line in lines if not line.startswith("    ")] == [
        "migrate is exited, none; its last lines:",
        "redis is running, unhealthy; its last lines:",
        "worker is exited, none; its last lines:",
    ]
    assert lines[1:16] == [f"    {line}" for line in log[-15:]]

    project = compose.load("local")
    assert commands.culprits(project, "redis").startswith("redis is running, unhealthy")
    assert "migrate" not in commands.culprits(project, "redis", "db")
    assert commands.culprits(project, "db") == "`docker compose ps --all` shows what is there."


def test_adopt_of_a_stack_without_an_owner_names_no_former_folder(stack: Stack) -> None:
    ended = stack.run("adopt", "--json")

    assert ended.code == 0
    assert ended.result == {"project": NAME, "folder": str(stack.root), "before": ""}
    assert f"{NAME} belongs to {stack.root} now" in ended.err and "still mount" not in ended.err


def test_doctor_reports_problems_of_the_site(stack: Stack) -> None:
    requested: list[str] = []

    def answer(path: str) -> tuple[int, str]:
        requested.append(path)
        return 502, ""

    def site() -> dict[str, str]:
        checks = stack.run("doctor", "--json").result["checks"]
        return next(check for check in checks if check["name"] == "site")

    stack.visitors_get(answer)
    assert site()["problem"] == f"/readyz on port {stack.port} answers 502"
    assert site()["next"] == "docker compose logs --tail 30 haproxy"
    assert set(requested) == {"/readyz"} and "localhost" in stack.hosts

    stack.end("worker")
    assert site()["next"] == "See the parts above first; ./stackctl up starts what is down."

    stack.visitors_get(lambda _: (0, ""))
    assert f"/readyz on port {stack.port} answers " in site()["problem"]
    assert "answers 0" not in site()["problem"] and not site()["problem"].endswith("answers ")

    stack.containers["haproxy"].port = 1
    assert site() == {
        **{"name": "site", "ok": False, "fact": ""},
        "problem": f"HAProxy does not publish port {stack.port}, where .env has the site",
        "next": "docker compose up --detach --no-deps haproxy publishes it, with a "
        "short interruption",
    }


def test_doctor_reports_different_releases(stack: Stack) -> None:
    stack.containers["server2"].environ["RELEASE"] = "bbbb"

    checks = stack.run("doctor", "--json").result["checks"]

    assert {
        "name": "releases",
        "ok": False,
        "fact": "",
        "problem": "servers and workers run different releases: "
        "server1 aaaa, server2 bbbb, worker aaaa",
        "next": "./stackctl deploy resumes, ./stackctl rollback RELEASE goes back",
    } in checks


@pytest.mark.parametrize("service", ["redis", "worker"])
def test_doctor_reports_a_service_with_two_containers_and_the_command_for_one(
    stack: Stack, service: str
) -> None:
    copy = stack.create(service)
    stack.containers = {**stack.containers, "copy": copy}

    rows = stack.run("doctor", "--json").result["checks"]

    (check,) = [row for row in rows if "containers" in row["problem"]]
    command = f"docker compose up --detach --no-deps --scale {service}=1 {service}"
    more = "; WORKER_CONCURRENCY has one worker do more at a time"
    assert check["name"] == service and check["problem"].startswith("it has 2 containers, ")
    assert check["next"] == command + (more if service == "worker" else "")
