"""What an app of the project adds to the stack with ops.registry."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pytest_django import Settings

from ops import registry
from ops.metrics import processes, scrape
from ops.registry import Card

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    """Start with empty registries, and restore them afterwards."""
    settings.MEDIA_ROOT = tmp_path
    for name in ("health_checks", "periodic_work", "cards"):
        monkeypatch.setattr(registry, name, {})
    monkeypatch.setattr(registry, "worker_metrics", [])


class SearchCheck(HealthCheck):
    """A component that is down."""

    def run(self) -> None:
        """Fail."""
        raise ServiceUnavailable("does not answer")


def broken() -> int:
    raise OSError("away")


def test_registered_health_check_is_a_component_of_healthz(client: Client) -> None:
    registry.add_health_check("search", SearchCheck)

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["components"]["search"]["error"].endswith("does not answer")


def test_registered_metrics_are_in_the_scrape_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Stock(Collector):
        """A metric that an app collects at each scrape."""

        def collect(self) -> Iterator[GaugeMetricFamily]:
            """Count."""
            yield GaugeMetricFamily("shop_stock", "Pieces in stock.", 7)

    monkeypatch.setenv(processes.VARIABLE, str(tmp_path))
    registry.add_worker_metrics(Stock())

    assert scrape.worker_registry().get_sample_value("shop_stock") == 7


@pytest.mark.parametrize(
    ("state", "shown"), [(lambda: 7, 7), (broken, None)], ids=["state", "state fails"]
)
def test_registered_card_is_on_the_status_page_and_in_its_report(
    client: Client, settings: Settings, state: Callable[[], int], shown: int | None
) -> None:
    settings.DEBUG = True
    registry.add_card(
        Card("stock", "ops/parts/icons.html", scripts=("admin/js/core.js",), state=state)
    )

    assert client.get("/status/report/").json()["stock"] == shown
    page = client.get("/status/").content.decode()
    assert page.count("/static/admin/js/core.js") == 1


@pytest.mark.parametrize("public", [True, False])
def test_card_is_shown_to_signed_in_users_only_if_public(client: Client, public: bool) -> None:
    registry.add_card(
        Card("stock", "ops/parts/icons.html", scripts=("admin/js/core.js",), public=public)
    )

    assert "core.js" not in client.get("/status/").content.decode()
    client.force_login(get_user_model().objects.create_user("someone"))
    assert ("core.js" in client.get("/status/").content.decode()) == public


@pytest.mark.parametrize(
    "add",
    [
        lambda: registry.add_health_check("search", SearchCheck),
        lambda: registry.add_periodic_work("search", 5, broken),
        lambda: registry.add_card(Card("search", "ops/parts/icons.html")),
    ],
    ids=["health check", "periodic work", "card"],
)
def test_second_registration_of_a_name_is_refused(add: Callable[[], None]) -> None:
    add()

    with pytest.raises(ValueError, match=r"'search' is registered twice\."):
        add()
