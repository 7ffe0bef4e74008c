"""The diagram of the stack on the status page: its boxes, and the lines between them."""

import sys
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from ops.database.outage import KINDS
from ops.environment import KAFKA_SCHEME  # remove_kafka

# By the module that only this application server provides.
APP_SERVERS = {
    "uwsgi": "uWSGI",
    "uvicorn": "uvicorn",  # remove_asgi
    "gunicorn": "gunicorn",  # remove_gunicorn
}
# By the scheme of the broker's address; Redis and files need no box of their own.
BROKERS: dict[str, str] = {
    "amqp": "RabbitMQ",  # remove_rabbitmq
    "amqps": "RabbitMQ",  # remove_rabbitmq
    KAFKA_SCHEME: "Kafka",  # remove_kafka
}
WORDS = {"up": "Up", "draining": "Draining", "down": "Down"}


@dataclass(frozen=True)
class Part:
    """One line of a box: a component of /healthz with its state, and what is wrong with it."""

    name: str
    state: str
    detail: str

    @property
    def word(self) -> str:
        """Return the state for a person."""
        return WORDS.get(self.state, "Unknown")


@dataclass(frozen=True)
class Box:
    """One box behind the servers, with the components that it represents."""

    key: str
    title: str
    about: str
    components: tuple[str, ...]
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class Lines:
    """Curves across a gap that is 100 wide and 100 high, from boxes to boxes of equal height."""

    paths: list[str]

    @classmethod
    def between(cls, left: int, right: int) -> "Lines":
        """Connect `left` boxes with `right` boxes, through the middle."""
        inward = [f"M0 {y} C25 {y} 25 50 50 50" for y in middles(left)]
        outward = [f"M50 50 C75 50 75 {y} 100 {y}" for y in middles(right)]
        return cls(inward + outward)


def middles(count: int) -> list[float]:
    """Return the height of each box's middle, of 100."""
    return [round((number + 0.5) / count * 100, 2) for number in range(count)]


def diagram(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the template draws of a report."""
    boxes = boxes_of(report["components"])
    servers = [
        {**server, "word": WORDS[server["state"]], "number": number}
        for number, server in enumerate(report["servers"], start=1)
    ]
    return {
        "balanced": bool(settings.SERVERS),
        "app_server": app_server(),
        "servers": servers,
        "boxes": boxes,
        "to_servers": Lines.between(1, len(servers)),
        "to_boxes": Lines.between(len(servers), len(boxes)),
    }


def app_server() -> str:
    """Return what runs Django in this process; empty where that is neither of the two."""
    return next((title for module, title in APP_SERVERS.items() if module in sys.modules), "")


def boxes_of(components: dict[str, dict[str, Any]]) -> list[Box]:
    """Return the boxes that have a component, in the diagram's order."""
    boxes = known_boxes()
    named = {name for box in boxes for name in box.components}
    others = tuple(name for name in components if name not in named)
    boxes.append(Box("other", "Other parts", "", others))
    for box in boxes:
        box.parts.extend(
            part(name, components[name]) for name in box.components if name in components
        )
    return [box for box in boxes if box.parts]


def known_boxes() -> list[Box]:
    """Return the boxes of the stack as this installation has it."""
    redis = "redis" in settings.CACHES["default"]["BACKEND"].lower()
    broker = BROKERS.get(settings.CELERY_BROKER_URL.partition(":")[0])
    boxes = [
        Box("database", KINDS[connection.vendor], "rows", ("database", "migrations")),
        Box(
            *("redis", "Redis" if redis else "Cache", "values"),
            ("cache",) if broker else ("cache", "broker"),
        ),
        Box("worker", "Worker", "tasks", ("worker",)),
        Box("media", "Media", "files", ("storage",)),
    ]
    if broker:
        boxes.insert(2, Box("broker", broker, "messages", ("broker",)))
    return boxes


def part(name: str, component: dict[str, Any]) -> Part:
    """Return a component's line."""
    detail = component.get("error") or component.get("detail") or ""
    return Part(name, component["status"], str(detail))
