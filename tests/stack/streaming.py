"""A production stack with APP_SERVER=asgi, Channels and the pages of tests/stack/streams."""

from collections.abc import Iterator
from pathlib import Path

import channels
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.stack.compose import STACK_NAME, Stack, secret_environment


def run_streaming(tree: Path) -> Iterator[Stack]:
    """Start the stack, and remove it at the end."""
    stack = Stack(
        tree,
        "production",
        APP_SERVER="asgi",
        DJANGO_SECURE_SSL_REDIRECT="false",
        COMPOSE_FILE="docker-compose.yaml:tests/stack/streams.yaml",
        CHANNELS=str(Path(channels.__file__).parent),
        # Own images, since deploys move their tags.
        STACK_NAME=f"{STACK_NAME}-asgi",
        DRAIN_SECONDS="1",
        THROTTLE_ANON="off",
        **secret_environment(),
    )
    stack.project = f"{STACK_NAME}-asgi-production"
    yield from stack.running()


def open_socket(stack: Stack, origin: str = "http://localhost") -> ClientConnection:
    """Open a WebSocket through HAProxy, as a page of the site does; only the server pings."""
    url = f"ws://localhost:{stack.http_port}/ws/echo/"
    return connect(url, origin=Origin(origin), ping_interval=None)
