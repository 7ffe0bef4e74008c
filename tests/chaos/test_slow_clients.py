"""Attacks with slow clients, in parallel to the default load."""

import uuid
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import Load, mixed_clients
from tests.chaos.reliability import Figures
from tests.chaos.slow import SlowClients
from tests.chaos.test_balancing import nginx
from tests.stack.compose import Stack
from tests.waiting import eventually

HEADER = b"GET /profile/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
POST = (
    b"POST /loadtest/order/slow-{number} HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/octet-stream\r\n"
)
SHORT_BODY = POST + b"Content-Length: 1000\r\n\r\nx"
# More than HAProxy buffers before it selects a server.
FIRST_PIECE = b"x" * 40_000
UPLOAD = b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n" + FIRST_PIECE
LONG_BODY = POST + b"Content-Length: 5000000\r\n\r\n" + FIRST_PIECE
# The first six reach the application; HAProxy refuses the others.
SPELLINGS = (
    b"/api/files/",
    b"//api//files/",
    b"/%61pi/files/",
    b"/API/files;x/",
    b"http://localhost/api/files/",
    b"/static\\..\\api/files/",
    b"/static/../api/files/",
    b"/static/%2e%2e/api/files/",
    b"/static/..%2fapi/files/",
    b"/./api/files/",
    b"/static/..;/api/files/",
    b"/static/%c0%ae%c0%ae/api/files/",
)
# HAProxy has ten slots for long bodies in each server, nginx as the balancer twenty.
UPLOAD_SLOTS = 20
CHUNKED_BODY = POST + b"Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n" + FIRST_PIECE


@pytest.mark.parametrize(
    ("slow_part", "begin"),
    [("header", HEADER), ("body of 1 kB", SHORT_BODY)],
    ids=["header", "body"],
)
def test_slow_request_gets_408_and_other_requests_succeed(
    loaded: Stack, load: Load, figures: Figures, slow_part: str, begin: bytes
) -> None:
    with load:
        load.warm_up()
        with SlowClients(loaded.http_port, begin) as slow:
            eventually(
                lambda: len(slow.endings) >= slow.count,
                seconds=60,
                what="every client is cut off once",
            )

    figures.add(
        f"{slow.count} clients that send a byte of their {slow_part} a second",
        "0 failed; each slow one is cut off with 408",
        load,
        f"cut off after {slow.longest():.0f} s at the latest",
    )
    assert set(slow.statuses()) == {408}, slow.statuses()
    assert slow.longest() < 20
    check_nothing_lost(load, loaded)


@pytest.mark.parametrize(
    ("slow_part", "begin"),
    [("5 MB body", LONG_BODY), ("5 MB body in one chunk", CHUNKED_BODY)],
    ids=["length", "chunked"],
)
def test_slow_uploads_fail_no_other_request(
    loaded: Stack, load: Load, figures: Figures, slow_part: str, begin: bytes
) -> None:
    with load:
        load.warm_up()
        with SlowClients(loaded.http_port, begin) as slow:
            eventually(
                lambda: slow.begun >= slow.count and slow.endings,
                seconds=60,
                what="all slots for uploads are occupied",
            )
            before = len(load.outcomes)
            eventually(
                lambda: len(load.outcomes) > before + 500, seconds=60, what="visitors are served"
            )

    figures.add(
        f"{slow.count} clients that send a byte of their {slow_part} a second",
        "0 failed; other uploads get 503 meanwhile",
        load,
        f"{slow.statuses()[503]} refused",
    )
    # Connections without a slot got 503; the others continue.
    assert set(slow.statuses()) == {503}, slow.statuses()
    check_nothing_lost(load, loaded)
    # The slots are free again.
    eventually(lambda: upload_status(loaded) == 201, seconds=30, what="an upload is accepted")


@pytest.mark.parametrize("balancer", ["HAProxy", "nginx as the balancer"])
def test_no_path_spelling_bypasses_the_upload_limit(
    loaded: Stack, static: str, figures: Figures, balancer: str
) -> None:
    taken_out = loaded.taken_out()
    with ExitStack() as balancers:
        port = loaded.http_port
        if balancer != "HAProxy":
            _, port = balancers.enter_context(nginx(loaded, "round_robin"))
        load = balancers.enter_context(Load(port, mixed_clients(static)))
        load.warm_up()
        floods = [SlowClients(port, b"POST " + path + UPLOAD, count=10) for path in SPELLINGS]
        with ExitStack() as attack:
            for flood in floods:
                attack.enter_context(flood)
            eventually(
                lambda: all(flood.is_settled() for flood in floods),
                seconds=60,
                what="every body is refused or held",
            )
            held = sum(len(flood.held()) for flood in floods)
            load.wait_until_all_are_served()

    ended = sum((flood.statuses() for flood in floods), Counter[int]())
    figures.add(
        f"{balancer}: {len(floods)} spellings of an upload's path (`/static/../api/files/`, "
        f"`//api//files/`, ...), {floods[0].count} clients each, a byte a second",
        f"0 failed; at most {UPLOAD_SLOTS} of them held; no server taken out",
        load,
        f"{held} held; {ended[503]} got 503, {ended[400] + ended[413]} got 400 or 413",
    )
    assert 0 < held <= UPLOAD_SLOTS
    assert set(ended) <= {400, 413, 503}
    check_nothing_lost(load, loaded)
    assert loaded.taken_out() == taken_out


def upload_status(stack: Stack) -> int:
    """Upload 5 MB, and return the status."""
    return stack.post(f"/loadtest/order/{uuid.uuid4()}", data=b"x" * 5_000_000).status_code
