"""Stop, start and kill services, and read their state from /healthz."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack.compose import Stack, docker


def components(stack: Stack) -> dict[str, str]:
    """Return the state of each component from /healthz."""
    states = stack.get("/healthz").json()["components"]
    return {name: state["status"] for name, state in states.items()}


@contextmanager
def stopped(stack: Stack, service: str) -> Iterator[None]:
    """Stop a service during the block."""
    stack.stop(service)
    try:
        yield
    finally:
        start(stack, service)


def kill(stack: Stack, service: str) -> None:
    """Kill the container of a service, and start it again."""
    docker("kill", "--signal", "KILL", stack.container(service))
    start(stack, service)


def start(stack: Stack, service: str) -> None:
    """Start the stopped container of a service."""
    stack.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", service)


def restart(stack: Stack, service: str) -> None:
    """Stop a service, and wait until its container is healthy again."""
    stack.stop(service)
    start(stack, service)
