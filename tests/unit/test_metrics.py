"""What is counted, where it can be tested without a server; tests/embedded has uWSGI's."""

import os
import socket
import subprocess
import sys
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
from ops.metrics import PATH, PORT, backlog, jobs, processes
from ops.metrics.jobs import Queue
from ops.models import ParkedTask
from tests.orders import ship
from tests.tree import ROOT

User = get_user_model()


def value(name: str, **labels: str) -> float:
    """Return what this process has counted."""
    return REGISTRY.get_sample_value(name, labels) or 0


def told(metrics: list[Metric]) -> dict[str, float]:
    """Return the values by their names."""
    return {sample.name: sample.value for metric in metrics for sample in metric.samples}


def test_every_outcome_of_a_task_is_counted_from_its_first_begin_on() -> None:
    """A rate over a counter that appears with its first failure would miss that one."""
    task = SimpleNamespace(name="never begun before", request=SimpleNamespace())

    jobs.begun(task)

    for outcome, number in {"started": 1, "succeeded": 0, "failed": 0, "retried": 0}.items():
        name = f"celery_tasks_{outcome}_total"
        assert REGISTRY.get_sample_value(name, {"task": task.name}) == number


def test_the_last_buckets_are_the_time_limits() -> None:
    program = """if True:
        import django
        django.setup()
        from ops.metrics import jobs, requests
        for metric in (requests.DURATION, jobs.DURATION):
            print(*metric._upper_bounds[-4:])
    """
    limits = {"REQUEST_SECONDS": "300", "TASK_SECONDS": "7000"}
    environment = {**os.environ, **limits, "DJANGO_SETTINGS_MODULE": "mysite.settings.test"}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["100.0 250.0 300.0 inf", "2500.0 5000.0 7000.0 inf"]


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell")
@pytest.mark.parametrize("waiting", [0, 3])
def test_the_kernel_tells_how_many_wait_at_a_socket(tmp_path: Path, waiting: int) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(7)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.connect(path)

        assert backlog.of(path) == (waiting, 7)
        for client in clients:
            client.close()
    assert backlog.of(path) is None


def test_a_mistake_is_counted_by_its_kind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise KeyError

    monkeypatch.setattr("tests.orders.count", fail)
    client.raise_request_exception = False
    before = value("django_http_exceptions_total", view="orders", type="KeyError")

    assert client.get("/api/orders/").status_code == 500

    assert value("django_http_exceptions_total", view="orders", type="KeyError") == before + 1


@pytest.mark.django_db
def test_a_job_is_counted_by_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_what_waits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's transaction goes on afterwards.
    monkeypatch.setattr("ops.metrics.jobs.connection.close", lambda: None)
    monkeypatch.setattr(app, "queue_length", lambda: 7)
    ParkedTask.objects.create(task="later", message="{}", parked=timezone.now())

    found = told(list(Queue().collect()))

    assert found["mysite_tasks_parked"] == 1
    assert found["celery_broker_up"] == 1
    assert found["celery_queue_length"] == 7


def test_what_cannot_be_asked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broker_is_down() -> int:
        raise OSError("refused")

    def database_is_down() -> int:
        raise OperationalError("server has gone away")

    monkeypatch.setattr(app, "queue_length", broker_is_down)
    monkeypatch.setattr(ParkedTask.objects, "count", database_is_down)
    monkeypatch.setattr("ops.metrics.jobs.connection.close", lambda: None)

    assert told(list(Queue().collect())) == {"celery_broker_up": 0}


@pytest.mark.parametrize("port", ["80", str(PORT)])
def test_where_nothing_is_kept_nothing_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """As under `make run`."""
    monkeypatch.delenv(processes.VARIABLE, raising=False)

    assert client.get(PATH, SERVER_PORT=port).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics/x", "/%6Detrics", "/METRICS"])
def test_another_port_has_none(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    monkeypatch.setenv(processes.VARIABLE, str(tmp_path))
    headers = {"x-forwarded-port": str(PORT), "host": f"localhost:{PORT}"}

    for port in ("80", "443", "7999", "8000"):
        # PATH_INFO, since the client takes `//metrics` for a host without a path.
        answer = client.get("/", headers=headers, SERVER_PORT=port, PATH_INFO=path)
        assert answer.status_code == 404
    assert client.get("/metrics", SERVER_PORT=str(PORT)).status_code == 200
