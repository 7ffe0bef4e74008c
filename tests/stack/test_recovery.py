"""Faults from which a running stack recovers automatically."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.stack.compose import APP_SERVER, Stack, docker
from tests.waiting import eventually
from tools.stackctl.docker import engine

SUPERVISORCTL = ("supervisorctl", "-c", "/srv/project/supervisor/supervisord.conf")
# The command of the entrypoint.
SUPERVISORD = (
    ". /srv/project/nginx/limits.sh; export PYTHONPATH=/srv/project/supervisor SLOW_PROGRAM=; "
    f"exec supervisord -c {SUPERVISORCTL[-1]}"
)
HEALTHCHECK = "/srv/project/supervisor/healthcheck"


def pid_of(stack: Stack, program: str) -> int:
    """Return the process id of the master of a program on server1."""
    name = {APP_SERVER: f"{APP_SERVER}:{APP_SERVER}_0"}.get(program, program)
    return int(stack.run_in("server1", *SUPERVISORCTL, "pid", name))


def is_healthy(stack: Stack) -> bool:
    """Return whether the health check of server1 succeeds."""
    return (
        stack.compose("exec", "-T", "server1", HEALTHCHECK, check=False, timeout=30).returncode == 0
    )


def processes(stack: Stack, name: str, server: str = "server1") -> dict[int, int]:
    """Return the parents of all processes with this name on a server, by process id."""
    # With APP_SERVER=asgi too, the processes are gunicorn's.
    name = {"asgi": "gunicorn"}.get(name, name)
    listing = stack.run_in(
        server, "sh", "-c", "grep -hE '^(Name|Pid|PPid):' /proc/[0-9]*/status || true"
    )
    facts: list[dict[str, str]] = []
    for line in listing.splitlines():
        key, _, value = line.partition(":")
        if key == "Name":
            facts.append({})
        facts[-1][key] = value.strip()
    # A process that ended meanwhile has incomplete facts.
    return {
        int(row["Pid"]): int(row["PPid"]) for row in facts if row["Name"] == name and len(row) == 3
    }


@pytest.fixture(scope="module", autouse=True)
def failing_container(production: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a container whose application cannot be loaded; it ends while other tests run."""
    name = f"{production.project}-fatal"
    file = "asgi.py" if APP_SERVER == "asgi" else "wsgi.py"
    broken = tmp_path_factory.mktemp("fatal") / file
    broken.write_text("raise RuntimeError('not today')\n")
    docker(
        *("run", "--detach", "--name", name, "--network", f"{production.project}_front"),
        *("-e", "DRAIN_SECONDS=0", "-e", "DATABASE_URL=sqlite:////tmp/db.sqlite3"),
        *("-e", "REDIS_URL=redis://redis:6379/0", "-e", f"APP_SERVER={APP_SERVER}"),
        *("-v", f"{broken}:/srv/project/mysite/{file}:ro"),
        *("-e", f"DJANGO_SECRET_KEY={production.environment['DJANGO_SECRET_KEY']}"),
        *("-e", "DJANGO_ALLOWED_HOSTS=localhost"),
        production.image,
    )
    yield name
    docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module", autouse=True)
def failing_nginx(production: Stack) -> Iterator[str]:
    """Start a container whose nginx cannot read its configuration; it ends meanwhile too."""
    name = f"{production.project}-fatal-nginx"
    docker(
        *("run", "--detach", "--name", name, "--entrypoint", "sh"),
        *("-e", "DRAIN_SECONDS=0", "-e", "APP_SERVER=idle"),
        *("-v", f"{production.tree}/README.md:/srv/project/nginx/forward.conf:ro"),
        *(production.image, "-c", SUPERVISORD),
    )
    yield name
    docker("rm", "--force", "--volumes", name)


@pytest.mark.parametrize("program", ["nginx", APP_SERVER])
def test_killed_master_is_restarted_without_orphans(production: Stack, program: str) -> None:
    killed = pid_of(production, program)
    workers = [pid for pid, parent in processes(production, program).items() if parent == killed]
    assert workers
    if program == APP_SERVER:
        # An idle worker detects that its master has ended; a stopped one cannot.
        production.run_in("server1", "sh", "-c", f"kill -STOP {workers[0]}")

    production.run_in("server1", "sh", "-c", f"kill -9 {killed}")

    eventually(
        lambda: pid_of(production, program) not in (0, killed), seconds=30, what=f"a new {program}"
    )
    eventually(lambda: is_healthy(production), seconds=30, what="server1 is healthy")
    production.wait_for_both()

    # One master, whose parent is supervisor; every worker has that master for its parent.
    def has_one_master() -> bool:
        master = pid_of(production, program)
        parents = processes(production, program)
        # The master may have changed between the two commands.
        return parents.pop(master, 0) == 1 and set(parents.values()) == {master}

    eventually(has_one_master, seconds=30, what="the killed master's workers have ended")


# Kills a process, and prints how many connections to nginx are refused until the next one serves.
REFUSED_AFTER_KILL = """
import os, signal, socket, sys, time
os.kill(int(sys.argv[1]), signal.SIGKILL)
refused = 0
until = time.monotonic() + 4
while time.monotonic() < until:
    try:
        socket.create_connection(("127.0.0.1", 7999), timeout=2).close()
    except ConnectionRefusedError:
        refused += 1
    time.sleep(0.002)
print(refused)
"""


def test_nginx_refuses_no_connection_while_its_killed_master_is_restarted(
    production: Stack,
) -> None:
    """The former workers serve until the next master does."""
    killed = pid_of(production, "nginx")

    refused = production.run_in("server1", "python", "-c", REFUSED_AFTER_KILL, str(killed))

    assert int(refused) == 0
    assert pid_of(production, "nginx") not in (0, killed)
    production.wait_for_both()


# Starts supervisord with programs that have no pipe to it, whose end it would see; prints the path
# of each, and for how many seconds the stop of all takes.
STOP_OF_EIGHT = """
import os, pathlib, subprocess, tempfile, time
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "programs.conf").write_text("".join(
    f"[program:{number}]\\npriority = {number}\\n"
    f"command = sh -c 'echo {number}:$PYTHONPATH >>{folder}/log; exec sleep 60 >/dev/null 2>&1'\\n"
    for number in range(8)
))
head, _, _ = pathlib.Path("supervisor/supervisord.conf").read_text().partition("[include]")
head = head.replace("/run/mysite", str(folder))
(folder / "own.conf").write_text(head + "[include]\\nfiles = programs.conf\\n")
supervisord = subprocess.Popen(
    ["supervisord", "--configuration", folder / "own.conf"],
    env={**os.environ, "PYTHONPATH": "/srv/project/supervisor"},
    stdout=subprocess.DEVNULL,
)
log = folder / "log"
while not log.exists() or len(log.read_text().split()) < 8:
    time.sleep(0.1)
begin = time.monotonic()
supervisord.terminate()
supervisord.wait()
print(*sorted(log.read_text().split()), time.monotonic() - begin)
"""


def test_supervisord_stops_each_program_without_a_pause(production: Stack) -> None:
    *started, seconds = production.run_in("server1", "python", "-c", STOP_OF_EIGHT).split()

    # The path to its extension is none of the programs'.
    assert started == [f"{number}:" for number in range(8)]
    # Its own loop takes up to a second for each.
    assert float(seconds) < 4


def test_health_check_fails_on_an_error_page_of_nginx(production: Stack) -> None:
    production.run_in("server1", *SUPERVISORCTL, "stop", f"{APP_SERVER}:*")
    try:
        answer = production.compose("exec", "-T", "server1", HEALTHCHECK, check=False)
        assert answer.returncode != 0
        assert "502" in answer.stdout
    finally:
        # Detached, since supervisorctl would wait five seconds.
        start = (*SUPERVISORCTL, "start", f"{APP_SERVER}:*")
        production.compose("exec", "--detach", "server1", *start)
    eventually(lambda: is_healthy(production), seconds=30, what="server1 is healthy")
    production.wait_for_both()


def test_docker_restarts_a_crashed_server(production: Stack) -> None:
    before = production.inspect("server1", "{{.State.StartedAt}}")

    # From inside, as in a crash: Docker does not restart a container after `docker kill`.
    production.run_in("server1", "sh", "-c", "kill -QUIT 1; sleep 5", check=False)

    eventually(
        lambda: production.inspect("server1", "{{.State.StartedAt}}") != before,
        seconds=60,
        what="server1 was started again",
    )
    production.wait_for_both()
    assert production.inspect("server1", "{{.RestartCount}}") != "0"
    # stackctl shows how it ended, which the lines of its next start would bury.
    production.run_in("server1", "sh", "-c", "echo the next start >/proc/1/fd/2")
    lines = engine.last_lines(production.container("server1"), 5)
    assert lines and "the next start" not in lines


def test_stopped_server_drains_and_returns_at_a_new_address(production: Stack) -> None:
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    before = production.inspect("server1", address)
    production.stop("server1")
    check_clean_end(production, "server1")
    assert production.in_service() == {"set2"}

    production.compose("rm", "--force", "server1")
    # Another container takes the free address.
    other = docker(
        *("run", "--detach", "--network", f"{production.project}_front", "--entrypoint", "sleep"),
        *(production.image, "300"),
    )
    try:
        production.compose("up", "--detach", "--wait", "--no-deps", "server1")
        assert production.inspect("server1", address) != before
        production.wait_for_both()
    finally:
        docker("rm", "--force", other)


def check_clean_end(stack: Stack, server: str) -> None:
    """Assert that a server drained, then stopped nginx, then the application server."""
    log = stack.logs(server)
    stopped = stop_order(log)
    # The application server has two programs: itself, and the holder of its socket.
    assert stopped[-4:-2] == ["drain", "nginx"]
    assert set(stopped[-2:]) == {f"{APP_SERVER}_{number}" for number in range(2)}
    # No program had to be killed.
    assert not [line for line in log.splitlines() if "stopped: " in line and "SIGKILL" in line]
    # It was not drained before, so it waits for the load balancer.
    assert f"stopping in {stack.environment['DRAIN_SECONDS']} s" in log
    assert stack.inspect(server, "{{.State.ExitCode}}") == "0"


def stop_order(log: str) -> list[str]:
    """Return the programs in the order in which supervisor stopped them."""
    return [
        line.split("stopped: ")[1].split()[0] for line in log.splitlines() if "stopped: " in line
    ]


def test_container_ends_when_the_application_cannot_be_loaded(failing_container: str) -> None:
    assert_container_ends(failing_container, APP_SERVER, "not today")


def test_container_ends_when_nginx_cannot_be_started(failing_nginx: str) -> None:
    assert_container_ends(failing_nginx, "nginx", "forward.conf")


@pytest.mark.parametrize("service", ["redis", "haproxy", "worker", "db"])
def test_stopped_service_ends_without_being_killed(production: Stack, service: str) -> None:
    try:
        production.stop(service)
    finally:
        production.compose("up", "--detach", "--wait", "--no-deps", service)
    production.wait_for_both()


def assert_container_ends(container: str, program: str, reason: str) -> None:
    """Wait until a container ends because a program cannot be started; check its log."""
    eventually(
        lambda: docker("inspect", "--format", "{{.State.Running}}", container) == "false",
        seconds=90,
        what="the container ended",
    )
    log = subprocess.run(
        ["docker", "logs", container], capture_output=True, text=True, check=True
    ).stderr
    assert reason in log
    assert f"{program} cannot be started, so this container ends" in log


def test_database_outage_answers_503_and_keeps_servers_in_service(production: Stack) -> None:
    production.stop("db")
    try:
        answer = production.get("/api/schema/", headers={"Authorization": "Token unknown"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "database" in answer.json()["detail"]
        health = production.get("/healthz")
        assert health.status_code == 503
        assert health.json()["components"]["database"]["status"] == "down"
        assert health.json()["components"]["storage"]["status"] == "up"
        assert health.json()["components"]["cache"]["status"] == "up"
        assert production.get("/readyz").status_code == 200
        # The counter is in Redis.  # remove_demo
        assert production.get("/api/hits/").status_code == 200  # remove_demo
        assert production.get("/static/ops/status.css").status_code == 200
        assert production.in_service() == {"set1", "set2"}
    finally:
        production.compose("start", "db")
    eventually(
        lambda: production.get("/healthz").status_code == 200,
        seconds=60,
        what="the database is back",
    )
    assert production.get("/profile/").status_code == 200
