"""The project's ASGI application with Channels' router, as in its tutorial."""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from mysite.asgi import application as django


class Echo(AsyncWebsocketConsumer):
    """Sends back what it receives."""

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        print(f"echo: disconnected with {code}", flush=True)


def consumer() -> Any:
    """Return the consumer as an application."""
    return Echo.as_asgi()


application = ProtocolTypeRouter(
    {
        "http": django,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/echo/", consumer())]))
        ),
    }
)
