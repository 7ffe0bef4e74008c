"""Services that a test stops, starts and kills, and what /healthz says of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack.compose import Stack, docker


def components(stack: Stack) -> dict[str, str]:
    """Return the state of each component, by /healthz."""
    found = stack.get("/healthz").json()["components"]
    return {name: line["status"] for name, line in found.items()}


@contextmanager
def stopped(stack: Stack, service: str) -> Iterator[None]:
    """Stop a service for the block's time."""
    stack.compose("stop", service)
    try:
        yield
    finally:
        start(stack, service)


def kill(stack: Stack, service: str) -> None:
    """Kill a service's container and start it again."""
    docker("kill", "--signal", "KILL", stack.container(service))
    start(stack, service)


def start(stack: Stack, service: str) -> None:
    """Start a service's container that has ended."""
    stack.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", service)
