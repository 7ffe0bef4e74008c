"""Metrics that need no server; tests/embedded has those of uWSGI."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from ops.celery import app
from ops.metrics import PATH, PORT, backlog, jobs, processes, uwsgi
from ops.metrics.jobs import Queue
from ops.models import ParkedTask
from tests.orders import ship
from tests.unit.environments import run_python

User = get_user_model()


def value(name: str, **labels: str) -> float:
    """Return the value of a metric in this process."""
    return REGISTRY.get_sample_value(name, labels) or 0


def values(metrics: list[Metric]) -> dict[str, float]:
    """Return the values by their names."""
    return {sample.name: sample.value for metric in metrics for sample in metric.samples}


def test_all_task_counters_exist_from_the_first_start_of_a_task() -> None:
    """A rate would miss the first failure if the counter appeared with it."""
    task = SimpleNamespace(name="never begun before", request=SimpleNamespace())

    jobs.begun(task)

    for outcome, number in {"started": 1, "succeeded": 0, "failed": 0, "retried": 0}.items():
        name = f"celery_tasks_{outcome}_total"
        assert REGISTRY.get_sample_value(name, {"task": task.name}) == number


def test_last_duration_buckets_are_the_time_limits() -> None:
    program = """if True:
        import django
        django.setup()
        from ops.metrics import jobs, requests
        for metric in (requests.DURATION, jobs.DURATION):
            print(*metric._upper_bounds[-4:])
    """
    done = run_python(program, REQUEST_SECONDS="300", TASK_SECONDS="7000")

    assert done.stdout.splitlines() == ["100.0 250.0 300.0 inf", "2500.0 5000.0 7000.0 inf"]


@contextmanager
def stats_socket(path: Path, *states: str) -> Iterator[None]:
    """Answer once like uWSGI's stats socket, with a worker in each of these states."""
    counts = dict.fromkeys(("requests", "harakiri_count", "exceptions", "respawn_count", "rss"), 7)
    workers = [{"id": n, "status": state, **counts} for n, state in enumerate(states, 1)]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(json.dumps({"workers": workers}).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


def test_uwsgi_metrics_name_the_pool_of_slow_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker 1 of the others answers the scrape."""
    options = {"stats": str(tmp_path / "uwsgi-stats.sock").encode()}
    module = SimpleNamespace(opt=options, worker_id=lambda: 1, sockets=())
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    with ExitStack() as sockets:
        sockets.enter_context(stats_socket(tmp_path / "uwsgi-stats.sock", "busy", "busy", "idle"))
        sockets.enter_context(stats_socket(tmp_path / "slow-stats.sock", "busy", "busy"))
        families = list(uwsgi.UwsgiWorkers().collect())

    assert len({family.name for family in families}) == len(families)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    slow, busy = ("pool", "slow"), ("state", "busy")
    assert samples["uwsgi_workers", busy] == 1
    assert samples["uwsgi_workers", slow, busy] == 2
    assert samples["uwsgi_worker_harakiri_total", slow, ("worker", "2")] == 7
    assert ("uwsgi_worker_harakiri_total", slow, ("worker", "3")) not in samples
    assert samples["uwsgi_worker_resident_memory_bytes", ("worker", "3")] == 7


def test_workers_of_the_two_pools_count_in_different_files() -> None:
    """Two processes that write one file would lose counts."""
    program = """if True:
        from ops.metrics import processes
        print(processes.place())
        for number in (1, 64):
            processes.take_place(number)
            print(processes.place())
    """
    places = {pool: run_python(program, APP_POOL=pool).stdout.split() for pool in ("", "slow")}

    assert places == {"": ["0", "1", "64"], "slow": ["100", "101", "164"]}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("waiting", [0, 3])
def test_listen_backlog_of_a_socket_is_read_from_the_kernel(tmp_path: Path, waiting: int) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(7)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.connect(path)

        assert backlog.queue_length(path) == (waiting, 7)
        for client in clients:
            client.close()
    assert backlog.queue_length(path) is None


def test_view_exception_is_counted_by_its_type(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise KeyError

    monkeypatch.setattr("tests.orders.count", fail)
    client.raise_request_exception = False
    before = value("django_http_exceptions_total", view="orders", type="KeyError")

    assert client.get("/api/orders/").status_code == 500

    assert value("django_http_exceptions_total", view="orders", type="KeyError") == before + 1


def test_requests_are_counted_by_view_method_and_status(client: Client) -> None:
    def counts() -> list[float]:
        by_method = [("GET", "200"), ("HEAD", "200"), ("POST", "405"), ("other", "405")]
        name, view = "django_http_requests", "profile"
        seconds = f"{name[:-1]}_duration_seconds_count"
        return [
            *(value(f"{name}_total", view=view, method=m, status=s) for m, s in by_method),
            *(value(seconds, view=view, method=m) for m, _ in by_method),
        ]

    before = counts()
    for method in ("get", "get", "head", "post"):
        getattr(client, method)("/profile/")
    client.generic("BREW", "/profile/")

    added = [new - old for new, old in zip(counts(), before, strict=True)]
    assert added == [2, 1, 1, 1, 2, 1, 1, 1]


@pytest.mark.django_db
def test_task_is_counted_by_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts() -> list[float]:
        names = ("tasks_started_total", "tasks_succeeded_total", "tasks_failed_total")
        ended = "task_duration_seconds_count"
        return [value(f"celery_{name}", task=ship.name) for name in (*names, ended)]

    begin = counts()
    ship.apply()
    assert [new - old for new, old in zip(counts(), begin, strict=True)] == [1, 1, 0, 1]

    def fail(*args: object, **kwargs: object) -> None:
        raise KeyError

    monkeypatch.setattr("tests.orders.count", fail)
    ship.apply()
    assert [new - old for new, old in zip(counts(), begin, strict=True)] == [2, 1, 1, 2]


@pytest.mark.django_db
def test_queue_metrics_report_broker_queue_length_and_parked_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Keep the connection of the test's transaction open.
    monkeypatch.setattr("ops.metrics.jobs.connection.close", lambda: None)
    monkeypatch.setattr(app, "queue_length", lambda: 7)
    ParkedTask.objects.create(task="later", message="{}", parked=timezone.now())

    result = values(list(Queue().collect()))

    assert result["mysite_tasks_parked"] == 1
    assert result["celery_broker_up"] == 1
    assert result["celery_queue_length"] == 7


def test_queue_metrics_omit_a_broker_or_database_that_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broker_is_down() -> int:
        raise OSError("refused")

    def database_is_down() -> int:
        raise OperationalError("server has gone away")

    monkeypatch.setattr(app, "queue_length", broker_is_down)
    monkeypatch.setattr(ParkedTask.objects, "count", database_is_down)
    monkeypatch.setattr("ops.metrics.jobs.connection.close", lambda: None)

    assert values(list(Queue().collect())) == {"celery_broker_up": 0}


@pytest.mark.parametrize("port", ["80", str(PORT)])
def test_metrics_are_404_without_a_metrics_folder(
    client: Client, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """As with `make run`."""
    monkeypatch.delenv(processes.VARIABLE, raising=False)

    assert client.get(PATH, SERVER_PORT=port).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics/x", "/%6Detrics", "/METRICS"])
def test_metrics_are_404_on_every_other_port(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    monkeypatch.setenv(processes.VARIABLE, str(tmp_path))
    headers = {"x-forwarded-port": str(PORT), "host": f"localhost:{PORT}"}

    for port in ("80", "443", "7999", "8000"):
        # As PATH_INFO, since the client reads `//metrics` as a host without a path.
        answer = client.get("/", headers=headers, SERVER_PORT=port, PATH_INFO=path)
        assert answer.status_code == 404
    assert client.get("/metrics", SERVER_PORT=str(PORT)).status_code == 200
