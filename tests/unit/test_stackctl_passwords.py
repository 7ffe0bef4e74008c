"""How stackctl checks and changes passwords, and requests a server from inside."""

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.ports import free_port
from tests.unit.test_stackctl_parts import container, fake_project
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError, from_system
from tools.stackctl.common.process import Result
from tools.stackctl.docker import compose
from tools.stackctl.docker.engine import Container
from tools.stackctl.inside import ask
from tools.stackctl.inside.databases import MYSQL, POSTGRESQL
from tools.stackctl.inside.passwords import DB, PASSWORDS, REDIS, Password, is_rotated

# How redis.sh and postgres.sh end.
REFUSED_BY_A_SCRIPT = 3


class Programs:
    """Record the programs that stackctl starts, with one result for all."""

    def __init__(self) -> None:
        """Let every program succeed."""
        self.result = Result(0, "", "")
        self.calls: list[tuple[tuple[str, ...], str]] = []

    def run(self, *command: str, stdin: str) -> Result:
        """Record a program and its input."""
        self.calls.append((command, stdin))
        return self.result


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Container]:
    """Return the containers of the stack."""
    clients = {
        "server2": {"front": "10.0.0.3", "backend": "10.0.0.2"},
        "worker": {"backend": "10.0.0.4"},
        "haproxy": {"front": "10.0.0.9"},
    }
    results = {name: container(service=name, addresses=own) for name, own in clients.items()}
    results |= {name: container(id=f"of-{name}", service=name) for name in ("db", "redis")}
    monkeypatch.setattr(compose.Project, "containers", lambda _: results)
    return results


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs()
    monkeypatch.setattr(process, "run", programs.run)
    return programs


def project(image: str = "mysql:9.7", **environment: str) -> compose.Project:
    """Return a project with a database of this image, and these variables of its servers."""
    services = dict(fake_project().services)
    services.pop("server10")
    services["server2"] = {"image": "fake-local", "environment": environment}
    services["db"] = {"image": image, "environment": environment}
    services["redis"] = {"image": "redis:8.0"}
    return compose.Project("project", "local", {"name": "project", "services": services})


@pytest.mark.parametrize(
    ("image", "script"),
    [("mysql:9.7", MYSQL.script), ("postgres:17", POSTGRESQL.script), ("mariadb", MYSQL.script)],
)
@pytest.mark.usefixtures("containers")
def test_password_check_runs_the_database_script_and_passes_the_password_by_stdin(
    programs: Programs, image: str, script: str
) -> None:
    assert DB.accepts(project(image), "pa55word")

    ((command, stdin),) = programs.calls
    assert command[:6] == ("docker", "exec", "-i", "of-db", "bash", "-c")
    assert command[7:] == (script, "knows") and command[6].startswith("#")
    assert stdin == "pa55word\n" and "pa55word" not in "".join(command)


@pytest.mark.usefixtures("containers")
def test_password_change_passes_the_address_of_each_client(programs: Programs) -> None:
    REDIS.accept(project(), "new")
    REDIS.retire(project(), "new")

    (accept, word), (retire, same) = programs.calls
    assert accept[3] == "of-redis" and (word, same) == ("new\n", "new\n")
    assert accept[7:] == ("redis.sh", "accept", "", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert retire[7:] == ("redis.sh", "retire")


@pytest.mark.usefixtures("containers")
def test_password_check_is_accepted_refused_or_an_error(programs: Programs) -> None:
    programs.result = Result(REFUSED_BY_A_SCRIPT, "", "refused")
    assert not DB.accepts(project(), "x")

    programs.result = Result(1, "", "gone away")
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: DB.accepts(project(), "x"), "db does not answer: gone away"),
        (lambda: DB.accept(project(), "x"), "the password of db cannot be changed: gone away"),
        (lambda: DB.retire(project(), "x"), "the password of db cannot be changed: gone away"),
    ]
    for call, problem in calls:
        with pytest.raises(StackctlError) as caught:
            call()
        assert (caught.value.problem, caught.value.hint) == (
            problem,
            "docker compose logs --tail 30 db",
        )


@pytest.mark.parametrize("missing", [True, False])
def test_password_check_of_a_server_that_is_down_is_an_error(
    containers: dict[str, Container], programs: Programs, missing: bool
) -> None:
    containers["db"] = replace(containers["db"], running=False)
    if missing:
        del containers["db"]

    with pytest.raises(StackctlError) as caught:
        DB.accepts(project(), "x")
    assert caught.value.problem == "db is not running"
    assert caught.value.hint == "Start the stack: ./stackctl up"
    assert programs.calls == []


@pytest.mark.parametrize(
    ("variables", "environment", "changed"),
    [
        ({"DB_PASSWORD", "POSTGRES_PASSWORD"}, {}, [DB]),
        ({"REDIS_PASSWORD", "DB_NAME"}, {}, [REDIS]),
        ({"DB_NAME"}, {}, []),
        # This stack has no broker of its own.
        ({"BROKER_PASSWORD"}, {}, []),
        ({"REDIS_PASSWORD"}, {"REDIS_HOST": "cache.example.com"}, []),
        ({"DB_PASSWORD"}, {"DATABASE_URL": "mysql://u:p@db.example.com/n"}, []),
    ],
)
def test_changed_password_is_that_of_a_server_of_the_stack(
    variables: set[str], environment: dict[str, str], changed: list[Password]
) -> None:
    stack = project(**environment)

    assert [one for one in PASSWORDS.values() if one.is_changed(stack, variables)] == changed


@pytest.mark.parametrize(
    ("started_with", "code", "rotated"),
    [
        ({"DB_PASSWORD": "old", "MODE": "a"}, 0, True),
        ({"DB_PASSWORD": "old", "POSTGRES_PASSWORD": "old", "MODE": "a"}, 0, True),
        # Refused; no answer; no change; more than the password has changed.
        ({"DB_PASSWORD": "old", "MODE": "a"}, REFUSED_BY_A_SCRIPT, False),
        ({"DB_PASSWORD": "old", "MODE": "a"}, 1, False),
        ({"DB_PASSWORD": "new", "POSTGRES_PASSWORD": "new", "MODE": "a"}, 0, False),
        ({"DB_PASSWORD": "old", "MODE": "b"}, 0, False),
    ],
)
@pytest.mark.usefixtures("containers")
def test_database_container_with_only_another_password_counts_as_rotated(
    programs: Programs, started_with: dict[str, str], code: int, rotated: bool
) -> None:
    programs.result = Result(code, "", "")
    present = {"DB_PASSWORD": "new", "POSTGRES_PASSWORD": "new", "MODE": "a"}
    database = container(service="db", environ=started_with)

    assert is_rotated(project(**present), database) is rotated
    assert not is_rotated(project(**present), replace(database, service="server2"))


@pytest.fixture
def site() -> Iterator[HTTPServer]:
    """Start a server that responds with the request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = ("Host", "X-Forwarded-Proto", "Accept")
            body = json.dumps([self.path, *(self.headers[name] for name in names)]).encode()
            self.send_response(418)
            self.end_headers()
            self.wfile.write(body + b"\xff" + bytes(30_000))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_server_is_requested_with_the_headers_of_the_load_balancer(
    site: HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ask, "PORT", site.server_port)
    ask.answer("MARK", "shop.example", ["/readyz"])

    (response,) = json.loads(capsys.readouterr().out.removeprefix("\nMARK"))
    echoed, _, rest = response["body"].partition("�")
    assert response["status"] == 418 and len(echoed) + 1 + len(rest) == ask.LONGEST
    assert json.loads(echoed) == ["/readyz", "shop.example", "https", "application/json"]

    monkeypatch.setattr(ask, "PORT", free_port())
    silent = ask.ask("shop.example", "/readyz")
    assert silent["status"] == 0 and "refused" in str(silent["body"])


@pytest.mark.parametrize(
    ("error", "problem", "hint"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied", "chown"),
        (OSError(errno.ENOSPC, "No space left", "/y"), "/y: No space left", "Free space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "this machine: Quota exceeded", "Free space"),
        (OSError("odd"), "this machine: odd", "try again."),
    ],
)
def test_os_error_names_its_file_and_a_hint(error: OSError, problem: str, hint: str) -> None:
    fault = from_system(error)

    assert fault.problem == problem and hint in fault.hint
