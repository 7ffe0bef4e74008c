"""The site's URLs, and pages that stream."""

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from mysite.urls import handler400, handler403, handler404, handler500  # noqa: F401
from mysite.urls import urlpatterns as site_urls


async def ticks(begin: str, end: str) -> AsyncIterator[str]:
    """Yield a piece twice a second, for ever."""
    number = 0
    while True:
        yield f"{begin}{number}{end}"
        number += 1
        await asyncio.sleep(0.5)


async def events(request: HttpRequest) -> StreamingHttpResponse:
    """Send an event twice a second."""
    return StreamingHttpResponse(ticks("data: ", "\n\n"), content_type="text/event-stream")


async def lines(request: HttpRequest, pieces: int) -> StreamingHttpResponse:
    """Send this many lines, two a second."""

    async def body() -> AsyncIterator[str]:
        async for line in ticks("", "\n"):
            yield line
            if line.strip() == str(pieces):
                return

    headers = {"X-Accel-Buffering": "no"}
    return StreamingHttpResponse(body(), content_type="text/plain", headers=headers)


def visit(request: HttpRequest) -> JsonResponse:
    """Count the visits of a session, which is in the database."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


urlpatterns = [
    *site_urls,
    path("events/", events),
    path("lines/<int:pieces>/", lines),
    path("visit/", visit, name="visit"),
]
