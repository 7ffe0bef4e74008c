"""Streaming responses under ASGI: sent piece by piece, not read into memory first."""

from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, StreamingHttpResponse

from ops import streams
from ops.logs.requests import NGINX_LOGS
from ops.middleware import ProbeMiddleware

PIECES = [b"one", b"two"]


def request_with(**attributes: object) -> HttpRequest:
    """Return a request with these attributes."""
    request = HttpRequest()
    request.__dict__.update(attributes)
    return request


@pytest.fixture
def served() -> HttpRequest:
    """Return a request that ops/asgi_http.py serves."""
    return request_with(scope={NGINX_LOGS: True})


async def read(response: StreamingHttpResponse, taken: list[bytes], limit: int) -> list[bytes]:
    """Read at most `limit` pieces, and return how many the view was asked for."""
    async for piece in response:
        taken.append(piece)
        if len(taken) == limit:
            break
    return taken


def test_plain_iterator_is_read_only_as_far_as_it_is_sent(served: HttpRequest) -> None:
    asked = []

    def endless() -> Iterator[bytes]:
        while True:
            asked.append(1)
            yield b"piece"

    response = ProbeMiddleware(lambda _: StreamingHttpResponse(endless()))(served)

    assert async_to_sync(read)(response, [], 3) == [b"piece"] * 3
    assert len(asked) == 3


def test_whole_response_arrives(served: HttpRequest) -> None:
    response = StreamingHttpResponse(iter(PIECES))
    streams.in_pieces(served, response)

    assert async_to_sync(read)(response, [], 10) == PIECES


@pytest.mark.parametrize(
    "other", [request_with(), request_with(scope={})], ids=["WSGI", "a test's client"]
)
def test_other_responses_stay_as_the_view_made_them(other: HttpRequest) -> None:
    response = StreamingHttpResponse(iter(PIECES))
    streams.in_pieces(other, response)

    assert not response.is_async
    assert list(response) == PIECES


def test_async_iterator_stays(served: HttpRequest) -> None:
    async def own() -> AsyncIterator[bytes]:
        yield b"one"

    response = StreamingHttpResponse(own())
    before = response._iterator
    streams.in_pieces(served, response)

    assert response._iterator is before
