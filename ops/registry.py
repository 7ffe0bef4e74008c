"""What an app adds to the stack: health checks, metrics, periodic work, cards of the status page.

Call these functions in your AppConfig's `ready`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from health_check.base import HealthCheck
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class Card:
    """A part of the status page.

    Attributes:
        name: its key in the report that the page and /status/report/ show.
        template: what the page includes; it gets the page's context.
        scripts: static files that the page loads where the card is shown.
        page_scripts: static files that the page loads for every visitor.
        state: returns its part of the report, as JSON has it; None if it has none.
        public: whether signed-in users who may not see the stack's state see it too.
        wide: whether it is in the wide column.
    """

    name: str
    template: str
    scripts: tuple[str, ...] = ()
    page_scripts: tuple[str, ...] = ()
    state: Callable[[], Any] | None = None
    public: bool = False
    wide: bool = False


@dataclass(frozen=True)
class PeriodicWork:
    """Work that every worker does again and again, next to its tasks."""

    name: str
    seconds: float
    work: Callable[[], object]


health_checks: dict[str, type[HealthCheck]] = {}
worker_metrics: list[Collector] = []
periodic_work: dict[str, PeriodicWork] = {}
cards: dict[str, Card] = {}


def add_health_check(name: str, check: type[HealthCheck]) -> None:
    """Add a component to /healthz and to the status page.

    Args:
        name: the component's name there.
        check: its check; a second must be enough for it.

    Raises:
        ValueError: another check has this name.
    """
    _add(health_checks, "health check", name, check)


def add_worker_metrics(collector: Collector) -> None:
    """Add metrics that a worker collects at each scrape, such as the length of a queue."""
    worker_metrics.append(collector)


def add_periodic_work(name: str, seconds: float, work: Callable[[], object]) -> None:
    """Add work that every worker does again and again, next to its tasks.

    Args:
        name: what it is, for the log.
        seconds: the pause between two rounds.
        work: does it; several workers may do it at once.

    Raises:
        ValueError: other work has this name.
    """
    _add(periodic_work, "periodic work", name, PeriodicWork(name, seconds, work))


def add_card(card: Card) -> None:
    """Add a card to the status page.

    Raises:
        ValueError: another card has its name.
    """
    _add(cards, "card", card.name, card)


def _add(registry: dict[str, Any], kind: str, name: str, entry: object) -> None:
    if name in registry:
        raise ValueError(f"The {kind} {name!r} is registered twice.")
    registry[name] = entry
