"""The time limits and the workers of SLOW_PATHS, in every server that has them."""

import subprocess

import pytest

from tests.tree import ROOT
from tests.unit.config_files import (
    ALL,
    limits,
    services,
    supervisor_programs,
    supervisor_sections,
)
from tests.unit.time_limits import APP_SERVERS, Chain
from tools.stackctl.commands import reload
from tools.stackctl.docker.compose import RECREATE_SECONDS
from tools.stackctl.docker.engine import Container
from tools.stackctl.releases.surge import longest_request

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

SLOW_VARIABLES = {"SLOW_PATHS", "SLOW_REQUEST_SECONDS", "SLOW_CONCURRENCY"}
# What nginx/limits.sh writes down.
DERIVED = limits().keys() - {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}
# REQUEST_SECONDS and SLOW_REQUEST_SECONDS.
SLOW = [(20, 20), (20, 300), (60, 600), (600, 600)]


def container(**environ: str) -> Container:
    """Return a container with these variables."""
    return Container(
        *("id", "name", "server1", "image"),
        running=True,
        status="running",
        health="healthy",
        restarts=0,
        started="2026-01-01T00:00:00Z",
        addresses={},
        config_hash="hash",
        published=frozenset(),
        environ=environ,
    )


@pytest.mark.parametrize(("request_seconds", "slow"), SLOW)
def test_slow_request_has_longer_timeouts_in_every_server(request_seconds: int, slow: int) -> None:
    chain = Chain(request_seconds, slow)
    inner = [
        chain.haproxy(f"backend {name}", "http-request set-timeout server")
        for name in ("retry_backend", "retry_kept_backend")
    ]
    program = supervisor_programs()["slow"]["environment"]

    # uWSGI and gunicorn read it as their time limit, Django as that of its statements.
    assert 'REQUEST_SECONDS="%(ENV_SLOW_REQUEST_SECONDS)s"' in program
    assert chain.values["SLOW_REQUEST_SECONDS"] == str(slow)
    assert (
        slow + 2
        < float(chain.values["SLOW_NGINX_SECONDS"])
        < chain.haproxy("backend slow_backend", "timeout server")
        < min(inner)
    )
    assert chain.haproxy("backend upload_backend", "http-request set-timeout server") == (
        chain.haproxy("backend slow_backend", "timeout server")
    )
    # Other pages keep theirs.
    assert chain.written("nginx/start") == Chain(request_seconds).written("nginx/start")
    assert float(chain.values["BALANCER_SECONDS"]) == request_seconds + 10


@pytest.mark.parametrize(("request_seconds", "slow"), SLOW)
def test_stop_waits_for_a_slow_request(request_seconds: int, slow: int) -> None:
    chain = Chain(request_seconds, slow)
    hard_stop = chain.haproxy("global", "hard-stop-after")

    assert float(chain.values["SLOW_NGINX_SECONDS"]) < float(chain.values["NGINX_GRACE_SECONDS"])
    assert float(chain.values["NGINX_GRACE_SECONDS"]) < chain.stop_wait("nginx")
    for app_server in APP_SERVERS:
        stops = sum(map(chain.stop_wait, ("drain", "nginx", app_server, "slow")))
        assert stops < chain.grace("server1")
    assert float(chain.values["SLOW_INNER_SECONDS"]) < hard_stop < slow + reload.FORMER_SECONDS
    assert hard_stop + 11 < chain.grace("haproxy")
    # stackctl waits as long.
    server = container(**chain.variables)
    assert longest_request(server) >= slow + 5
    assert server.stop_seconds + RECREATE_SECONDS > chain.grace("server1")


@pytest.mark.parametrize("app_server", APP_SERVERS)
def test_slow_workers_run_like_the_others_with_their_own_socket_and_numbers(
    app_server: str,
) -> None:
    _, slow = supervisor_sections()[f"slow-{app_server}"]

    assert slow.pop("environment").split(",") == [
        'APP_POOL="slow"',
        'REQUEST_SECONDS="%(ENV_SLOW_REQUEST_SECONDS)s"',
        'WEB_CONCURRENCY="%(ENV_SLOW_CONCURRENCY)s"',
        'DEBUGGER_PORT=""',
    ]
    # It starts before nginx and ends after it.
    changed = {"socket": "unix:///run/mysite/slow.sock", "priority": "90"}
    assert slow == {**supervisor_programs()[app_server], **changed}


@pytest.mark.parametrize(
    ("service", "unread"),
    [
        ("haproxy", {"UPLOAD_MAX_MB"}),
        ("server1", set()),
        ("nginx-balancer", SLOW_VARIABLES),
        ("apache", SLOW_VARIABLES),
    ],
)
def test_each_container_derives_the_limits_of_env(service: str, unread: set[str]) -> None:
    """Else a variable would change nothing there. No slow page goes through the last two."""
    variables = {
        **{"REQUEST_SECONDS": "31", "UPLOAD_MAX_MB": "17"},
        **{"SLOW_PATHS": "/reports/", "SLOW_REQUEST_SECONDS": "400", "SLOW_CONCURRENCY": "5"},
    }
    given = services(**ALL, **variables)[service]["environment"]
    read = {name: value for name, value in variables.items() if name not in unread}

    def numbers(environ: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in limits(**environ).items() if name in DERIVED}

    assert numbers({name: text for name, text in given.items() if text}) == numbers(read)


@pytest.mark.parametrize("unset", ["", " ", " , "])
def test_without_slow_paths_nothing_changes(unset: str) -> None:
    assert limits(SLOW_PATHS=unset, SLOW_REQUEST_SECONDS=600) == {
        **limits(SLOW_REQUEST_SECONDS=600),
        "SLOW_PATHS": unset,
    }
    assert container(SLOW_PATHS=unset).request_seconds == 20
    assert locations(unset) == ""


def test_nginx_gets_one_location_for_each_slow_path() -> None:
    """Of a path that is named twice too: a second one would keep nginx from starting."""
    text = locations("/reports/, /api/exports/,,/reports/")

    assert text.count("location ^~ ") == 2
    for prefix in ("/reports/", "/api/exports/"):
        assert f"location ^~ {prefix} {{" in text and f"proxy_pass http://slow{prefix};" in text
    assert text.count("proxy_read_timeout 305s;") == text.count("proxy_send_timeout 305s;") == 2


def locations(paths: str) -> str:
    """Return what a server's nginx includes for these paths."""
    script = ". nginx/limits.sh; nginx_slow_locations"
    environ = {"PATH": "/usr/bin:/bin", "SLOW_PATHS": paths}
    return subprocess.run(
        ["sh", "-euc", script], cwd=ROOT, env=environ, check=True, capture_output=True, text=True
    ).stdout
