"""The chain of timeouts: each server waits longer than the one behind it.

These last up to 75 s each. tests/stack/test_timeouts.py measures shorter ones.
"""

import re
import runpy
import subprocess
from types import SimpleNamespace

import pytest
from django.conf import settings

from ops import breaker
from ops.database import lock_waits
from ops.environment.contract import VARIABLES
from ops.management.commands import migrate_with_lock
from ops.settings.backing import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
)
from ops.storage import bucket as bucket_storage
from ops.worker.beats import EVERY_SECONDS, STALE_SECONDS
from tests.tree import ROOT
from tests.unit.config_files import (
    dockerfile,
    haproxy_seconds,
    haproxy_sections,
    haproxy_value,
    health_check,
    httpd_members,
    httpd_value,
    limits,
    nginx_value,
    seconds,
    supervisor_programs,
    text_of,
    uwsgi_option,
)
from tests.unit.time_limits import APP_SERVERS, Chain
from tools.stackctl.commands import reload
from tools.stackctl.releases import migrate

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

SERVERS = tuple(f"server{number}" for number in range(1, 7))


VARIABLE = VARIABLES["REQUEST_SECONDS"]


@pytest.fixture(params=[VARIABLE.minimum, 33, 60, VARIABLE.maximum])
def chain(request: pytest.FixtureRequest) -> Chain:
    """The limits for several valid values of REQUEST_SECONDS."""
    return Chain(request.param)


def test_default_limits_of_servers_match_the_contract() -> None:
    for name in ("REQUEST_SECONDS", "UPLOAD_MAX_MB", "SLOW_REQUEST_SECONDS", "SLOW_CONCURRENCY"):
        assert limits()[name] == VARIABLES[name].default


def test_haproxy_start_supports_a_container_of_an_earlier_version() -> None:
    """Such a container has neither the file with the limits nor their variables."""
    names = ("BALANCER_SECONDS", "INNER_SECONDS", "BALANCER_GRACE_SECONDS", "SERVER_COUNT")
    shown = " ".join(f"${name}" for name in names)
    done = subprocess.run(
        [ROOT / "haproxy/start", "sh", "-c", f"echo {shown}"],
        env={"PATH": "/usr/bin:/bin", "STATS_PASSWORD": "x", "SERVER3": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == [*(limits()[name] for name in names[:3]), "3"]


def test_timeout_of_each_server_is_longer_than_that_of_its_upstream(chain: Chain) -> None:
    harakiri = chain.seconds(uwsgi_option("harakiri"))
    # gunicorn may detect a timeout a second late, and need one more to kill the worker.
    late = 2

    assert harakiri == chain.request
    assert (
        harakiri + late
        < chain.written("nginx/start")
        < chain.seconds(httpd_value("ProxyTimeout"))
        < chain.haproxy("defaults", "timeout server")
        < chain.haproxy("backend retry_backend", "timeout server")
    )
    assert chain.written("variants/nginx-balancer/start") == chain.haproxy(
        "defaults", "timeout server"
    )
    assert chain.written("variants/nginx-balancer/start") < float(chain.values["INNER_SECONDS"])


@pytest.mark.parametrize("url", ["mysql://web:word@db/site", "sqlite:///var/db.sqlite3"])
def test_database_timeouts_are_shorter_than_the_request_timeout(chain: Chain, url: str) -> None:
    waits = chain.database(url)

    assert waits
    for name, limit in waits.items():
        assert 0 < limit < chain.request, name


def test_mysql_connect_and_read_timeouts_together_are_shorter_than_a_request(chain: Chain) -> None:
    waits = chain.database("mysql://web:word@db/site")

    assert waits["connect_timeout"] + waits["read_timeout"] < chain.request
    # The server names the reason before the client cuts the connection.
    assert waits["innodb_lock_wait_timeout"] < waits["read_timeout"]


def test_postgresql_timeouts_are_nested_and_shorter_than_a_request(chain: Chain) -> None:
    waits = chain.database("postgres://web:word@db/site")

    assert waits["lock_timeout"] < waits["statement_timeout"]
    # The read timeout ends a statement on a server that hangs.
    assert waits["statement_timeout"] < waits["read_timeout"]
    assert waits["connect_timeout"] + waits["read_timeout"] < chain.request
    assert waits["idle_in_transaction_session_timeout"] > chain.request


def test_stopping_server_finishes_its_requests(chain: Chain) -> None:
    (shutdown,) = re.findall(r"worker_shutdown_timeout (\S+);", text_of("nginx/start"))

    assert chain.written("nginx/start") < chain.seconds(shutdown) < chain.stop_wait("nginx")
    for app_server in APP_SERVERS:
        assert chain.request < chain.stop_wait(app_server)


def test_gunicorn_limits_match_uwsgi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("REQUEST_SECONDS", "33")
    config = runpy.run_path(str(ROOT / "variants/gunicorn/config.py"))

    assert config["workers"] == 3 and uwsgi_option("processes") == "$(WEB_CONCURRENCY)"
    assert config["timeout"] == config["graceful_timeout"] == 33
    assert config["max_requests"] == int(uwsgi_option("max-requests"))
    assert config["max_requests_jitter"] == int(uwsgi_option("max-requests-delta"))
    assert supervisor_programs()["gunicorn"] == {
        **supervisor_programs()["uwsgi"],
        "command": "/srv/project/variants/gunicorn/start %(process_num)d",
    }


def test_asgi_runs_like_gunicorn() -> None:
    assert supervisor_programs()["asgi"] == supervisor_programs()["gunicorn"]


def test_gunicorn_gives_each_worker_a_number_that_no_other_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two workers with one number would write the same files of metrics."""
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("REQUEST_SECONDS", "20")
    pre_fork = runpy.run_path(str(ROOT / "variants/gunicorn/config.py"))["pre_fork"]
    master = SimpleNamespace(WORKERS={})

    def start(pid: int) -> int:
        worker = SimpleNamespace()
        pre_fork(master, worker)
        master.WORKERS[pid] = worker
        return int(worker.place)

    assert [start(pid) for pid in (11, 12, 13)] == [1, 2, 3]
    del master.WORKERS[12]
    assert start(14) == 2


def test_supervisor_waits_for_the_longest_drain() -> None:
    longest = VARIABLES["DRAIN_SECONDS"].maximum

    assert longest is not None
    assert longest < Chain(20).stop_wait("drain")


def test_haproxy_detects_a_drain_before_it_ends() -> None:
    lines = haproxy_sections()["backend dynamic_backend"]
    # Several default-server lines add up.
    server = [word for line in lines if line.startswith("default-server ") for word in line.split()]
    interval = seconds(server[server.index("inter") + 1], unit="ms")
    fall = int(server[server.index("fall") + 1])

    assert interval * fall < float(VARIABLES["DRAIN_SECONDS"].default)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("app_server", APP_SERVERS)
def test_stop_grace_period_covers_drain_nginx_and_application_server(
    chain: Chain, server: str, app_server: str
) -> None:
    assert set(supervisor_programs()) == {"drain", "nginx", *APP_SERVERS, "slow"}
    stops = sum(map(chain.stop_wait, ("drain", "nginx", app_server)))
    assert stops < chain.grace(server)


def test_haproxy_finishes_requests_on_reload_and_stop(chain: Chain) -> None:
    hard_stop = chain.haproxy("global", "hard-stop-after")

    assert chain.haproxy("backend retry_backend", "timeout server") < hard_stop
    # Before that it waits for kept connections, which end by themselves.
    written = re.search(r"^IDLE_SECONDS=(\d+)$", (ROOT / "haproxy/serve").read_text(), re.MULTILINE)
    assert written
    assert float(written[1]) > haproxy_seconds("defaults", "timeout http-keep-alive")
    assert hard_stop + float(written[1]) < chain.grace("haproxy")


def test_reload_waits_until_the_former_haproxy_process_has_ended(chain: Chain) -> None:
    hard_stop = chain.haproxy("global", "hard-stop-after")
    assert hard_stop < chain.request + reload.FORMER_SECONDS


def test_refused_connection_marks_a_server_down_and_leaves_retries_for_another() -> None:
    lines = haproxy_sections()["backend dynamic_backend"]
    words = [word for line in lines if line.startswith("default-server ") for word in line.split()]

    assert words[words.index("error-limit") + 1] == "1"
    assert words[words.index("observe") + 1] == "layer4"
    assert words[words.index("on-error") + 1] == "mark-down"
    # One cut in each connection slot, one refusal, and one try on the other server.
    assert (
        int(haproxy_value("defaults", "retries")) >= int(VARIABLES["WEB_CONCURRENCY"].default) + 2
    )


def test_nginx_keepalive_outlasts_the_keepalive_of_load_balancers() -> None:
    keepalive = seconds(nginx_value("keepalive_timeout"))

    assert keepalive > haproxy_seconds("defaults", "timeout http-keep-alive")
    # AWS load balancers keep idle connections for 60 s by default.
    assert keepalive > 60


def test_nginx_balancer_limits_match_haproxy(chain: Chain) -> None:
    def limit(name: str) -> float:
        return seconds(nginx_value(name, name="variants/nginx-balancer/nginx.conf"))

    assert limit("client_header_timeout") == haproxy_seconds("defaults", "timeout http-request")
    # No idle connection is left when nginx rereads its list of servers.
    idle = seconds(
        nginx_value("keepalive_timeout", "http", name="variants/nginx-balancer/nginx.conf")
    )
    assert idle < runpy.run_path(str(ROOT / "variants/nginx-balancer/follow.py"))["IDLE_SECONDS"]
    # It finishes its requests before the engine kills it.
    shutdown = float(chain.values["BALANCER_GRACE_SECONDS"])
    assert chain.written("variants/nginx-balancer/start") < shutdown < chain.grace("nginx-balancer")
    # It may try every server, but does not repeat a slow request.
    tries = float(
        nginx_value("proxy_next_upstream_tries", name="variants/nginx-balancer/nginx.conf")
    )
    retry_timeout = limit("proxy_next_upstream_timeout")
    assert tries >= len(SERVERS)
    assert tries * limit("proxy_connect_timeout") < retry_timeout < chain.request


def test_apache_shutdown_and_keepalive_match_nginx(chain: Chain) -> None:
    shutdown = chain.seconds(httpd_value("GracefulShutdownTimeout"))
    longest = VARIABLES["DRAIN_SECONDS"].maximum

    # It finishes its requests before the engine kills it, after its own drain.
    assert longest and chain.seconds(httpd_value("ProxyTimeout")) < shutdown
    assert shutdown + longest < chain.grace("apache")
    # As nginx, it never closes a connection that HAProxy may use.
    assert float(httpd_value("KeepAliveTimeout")) == seconds(nginx_value("keepalive_timeout"))
    header, body = re.findall(r"=(\d+)", httpd_value("RequestReadTimeout"))[:2]
    assert float(header) == seconds(nginx_value("client_header_timeout"))
    assert float(body) == seconds(nginx_value("client_body_timeout"))


def test_apache_detects_a_drain_before_the_server_stops() -> None:
    members = list(httpd_members().values())

    # Without kept connections, each request resolves the address of its server.
    assert len(members) == len(SERVERS) and all(member == members[0] for member in members)
    assert members[0]["disablereuse"] == "On"
    connect = float(members[0]["connectiontimeout"])
    assert connect == haproxy_seconds("defaults", "timeout connect")
    seen = (float(members[0]["hcfails"]) + 1) * float(members[0]["hcinterval"])
    assert seen < float(VARIABLES["DRAIN_SECONDS"].default)


def test_health_check_times_out_before_the_docker_timeout() -> None:
    own = float(health_check("seconds"))
    declared = [text for instruction, text in dockerfile("Dockerfile.base") if "--timeout=" in text]
    engine = re.search(r"--timeout=(\w+)", declared[0])

    assert engine and own < seconds(engine[1])


def test_haproxy_limits_in_docs_are_correct() -> None:
    header = haproxy_seconds("defaults", "timeout http-request")
    body = seconds(haproxy_value("frontend site", "http-request wait-for-body time"), unit="ms")
    (slots,) = re.findall(r"maxconn (\d+)", " ".join(haproxy_sections()["backend upload_backend"]))
    hard_stop = float(limits()["BALANCER_GRACE_SECONDS"])

    def words(name: str) -> str:
        return " ".join(text_of(name).split())

    assert (
        f"needs longer than {header:g} s for the header or {body:g} s for the body gets 408"
        in words("docs/architecture.md")
    )
    reliability = words("docs/reliability.md")
    assert (
        f"within {header:g} s, a body of up to 15 KB (with the header) within {body:g} s"
        in reliability
    )
    connections = haproxy_value("frontend site", "maxconn")
    site = " ".join(haproxy_sections()["frontend site"])
    # Without its own Connection header, browsers refuse an upgrade.
    (crowded,) = re.findall(r"Connection close if { fe_conn gt (\d+) } !{ status 101 }", site)
    assert f"HAProxy accepts {connections} connections at once" in reliability
    assert int(crowded) < int(connections)
    assert f"From {crowded} on it closes each after its answer" in reliability
    assert slots == "10" and "has ten slots for such requests in each server" in reliability
    balancing = words("docs/load-balancing.md")
    assert f"after {hard_stop:g} s at the latest (`hard-stop-after`)" in balancing
    assert f"within {reload.SERVES_SECONDS:g} s; what is not so" in balancing
    assert f"ends after {hard_stop:g} s at the latest (`hard-stop-after`)" in words("docs/tls.md")


def test_stopping_worker_finishes_its_tasks() -> None:
    soft, hard = settings.CELERY_TASK_SOFT_TIME_LIMIT, settings.CELERY_TASK_TIME_LIMIT
    assert soft < hard < Chain(20).grace("worker")


def test_worker_may_miss_two_heartbeats() -> None:
    assert 3 * EVERY_SECONDS <= STALE_SECONDS


def test_redis_and_s3_timeouts_are_shorter_than_a_request() -> None:
    # A check of /healthz may take two seconds: connect and request.
    assert CONNECT_SECONDS + ANSWER_SECONDS <= 2
    s3 = 2 * (bucket_storage.CONNECT_SECONDS + bucket_storage.READ_SECONDS)
    assert VARIABLE.minimum and s3 < VARIABLE.minimum
    assert s3 < settings.CELERY_TASK_SOFT_TIME_LIMIT
    assert s3 < breaker.STALE_SECONDS


def test_lock_wait_of_a_migration_is_shorter_than_the_haproxy_queue_timeout() -> None:
    queue = haproxy_seconds("defaults", "timeout queue")

    assert queue > lock_waits.TRY_SECONDS
    migrations = " ".join(text_of("docs/migrations.md").split())
    assert (
        f"waits for a lock {lock_waits.TRY_SECONDS} s at a time, shorter than HAProxy keeps a "
        f"request in its queue, and pauses {lock_waits.PAUSE_SECONDS:g} s" in migrations
    )
    assert (
        f"After `DB_LOCK_WAIT_SECONDS` ({VARIABLES['DB_LOCK_WAIT_SECONDS'].default})" in migrations
    )


def test_stackctl_parses_exit_code_and_messages_of_migrate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert migrate.LOCK_NOT_FREE == migrate_with_lock.LOCK_NOT_FREE

    print("  Applying api.0001...", end="")
    migrate_with_lock.Command().say("waiting")

    assert capsys.readouterr().out.splitlines()[-1].startswith(migrate.MESSAGE_PREFIX)


def test_nginx_waits_as_long_for_a_server_to_read_as_to_answer() -> None:
    """A server that hangs reads no more of a long body either."""
    script = ". nginx/limits.sh; nginx_limits 77"
    printed = subprocess.run(
        ["sh", "-euc", script], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout

    for direction in ("read", "send"):
        assert f"\nproxy_{direction}_timeout 77s;\n" in printed
