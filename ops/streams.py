"""Responses that stream by a plain iterator, such as FileResponse, under ASGI.

Django reads all of it into memory first.
https://docs.djangoproject.com/en/5.2/ref/request-response/#streaminghttpresponse-objects
"""

from collections.abc import AsyncIterator, Iterator
from functools import partial

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from ops.logs.requests import NGINX_LOGS


def in_pieces(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Return the response; ops/asgi_http.py sends each piece of a stream when it is there.

    A test's client reads the response as the view made it.
    """
    is_served = NGINX_LOGS in getattr(request, "scope", {})
    if is_served and isinstance(response, StreamingHttpResponse) and not response.is_async:
        response.streaming_content = pieces(response.streaming_content)
    return response


async def pieces(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces, each read in the request's thread."""
    read = sync_to_async(partial(next, content, None))
    while (piece := await read()) is not None:
        yield piece
