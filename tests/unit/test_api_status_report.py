"""/status/report/: the state of the stack, for staff only unless DEBUG is on."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from ops import registry
from ops.status import report as status
from ops.status import servers
from ops.status.servers import ServerEntry, ServerHealth
from ops.worker import beats

User = get_user_model()

# The components' checks run in threads, which do not see a test's open transaction.
pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = [
    ServerHealth(ServerEntry("set1", "server1", 7999), "up"),
    ServerHealth(ServerEntry("set2", "server2", 7999), "draining"),
]


@pytest.fixture(autouse=True)
def this_server(settings: Settings, tmp_path: Path) -> None:
    settings.PROFILE, settings.SERVERS = "set1", []
    # A fresh clone has no folder for files yet.
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each check time on a busy machine."""
    for check in registry.health_checks.values():
        monkeypatch.setattr(check, "timeout", datetime.timedelta(seconds=10))


@pytest.fixture(autouse=True)
def worker(transactional_db: None) -> None:
    beats.beat("worker")


def set_servers(monkeypatch: pytest.MonkeyPatch, result: list[ServerHealth]) -> None:
    """Set the result of the server probes."""
    monkeypatch.setattr(servers.RECENT, "load", lambda: result)


def sign_in(client: Client, **rights: bool) -> None:
    client.force_login(User.objects.create_user("someone", **rights))


@pytest.mark.parametrize("rights", [None, {"is_staff": False}])
def test_status_report_is_403_for_all_but_staff(
    client: Client, monkeypatch: pytest.MonkeyPatch, rights: dict[str, bool] | None
) -> None:
    """Nor does it probe anything."""
    monkeypatch.setattr(servers.RECENT, "load", lambda: pytest.fail("a server was asked"))
    monkeypatch.setattr(status.HEALTH, "load", lambda: pytest.fail("a component was asked"))
    if rights is not None:
        sign_in(client, **rights)

    answer = client.get("/status/report/")

    assert answer.status_code == 403
    assert answer.json().keys() == {"detail"}


@pytest.mark.parametrize("debug", [True, False])
def test_status_report_is_shown_to_staff_and_with_debug_to_everyone(
    client: Client, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug
    if not debug:
        sign_in(client, is_staff=True)

    answer = client.get("/status/report/")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert list(body) == ["server", "profile", "status", "servers", "components"]
    assert (body["server"], body["status"]) == ("set1", "up")
    assert body["servers"] == [{"name": "set1", "state": "up"}]
    assert body["profile"] == client.get("/profile/").json()
    health = client.get("/healthz").json()["components"]
    assert body["components"].keys() == health.keys()


def test_status_report_lists_servers_with_state_and_address(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    down = ServerHealth(ServerEntry("set3", "server3", 7999), "down", "not reached")
    set_servers(monkeypatch, [*SERVERS, down])

    body = client.get("/status/report/").json()

    assert body["servers"] == [
        {"name": "set1", "state": "up", "address": "server1:7999"},
        {"name": "set2", "state": "draining", "address": "server2:7999"},
        {"name": "set3", "state": "down", "address": "server3:7999", "detail": "not reached"},
    ]
    assert body["status"] == "down"


def test_status_report_is_up_while_a_server_drains(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    set_servers(monkeypatch, SERVERS)

    assert client.get("/status/report/").json()["status"] == "up"


def test_status_report_hides_server_names_outside_profile_fields(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG, settings.PROFILE_FIELDS = True, ["release"]
    set_servers(monkeypatch, SERVERS)

    body = client.get("/status/report/").json()

    assert body["server"] is None
    assert body["servers"] == [{"state": "up"}, {"state": "draining"}]
    page = client.get("/status/").content.decode()
    assert "set1" not in page and "server1" not in page


def test_status_report_and_page_name_a_component_that_is_down(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    settings.MEDIA_ROOT = "/nonexistent"

    body = client.get("/status/report/").json()
    page = client.get("/status/").content.decode()

    assert body["status"] == "down"
    assert body["components"]["storage"]["status"] == "down"
    assert body["components"]["database"]["status"] == "up"
    assert "The site is up, but a component is down" in page
    assert "cannot be written" in page


def test_status_report_and_page_share_one_health_check_result(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    looks: list[dict[str, Any]] = []

    def look() -> dict[str, Any]:
        looks.append({"database": {"status": "up"}})
        return looks[-1]

    monkeypatch.setattr(status.HEALTH, "load", look)

    for _ in range(10):
        client.get("/status/report/")
        client.get("/status/")

    assert len(looks) == 1


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_status_report_refuses_writing_methods(
    client: Client, settings: Settings, method: str
) -> None:
    settings.DEBUG = True

    assert getattr(client, method)("/status/report/").status_code == 405
