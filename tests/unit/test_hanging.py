"""Pages of an ASGI server that hang, and the end of a worker that has many."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from django.conf import LazySettings

from ops import hanging

RESET_LINK = "/accounts/reset/MQ/abcdef-0123456789abcdef0123456789abcdef/"


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> list[int]:
    """Return the signals that this process sends itself; pages hang at once."""
    settings.REQUEST_SECONDS = 0
    sent: list[int] = []
    monkeypatch.setattr(hanging, "LATE_SECONDS", 0)
    monkeypatch.setattr(hanging, "_pages", set())
    monkeypatch.setattr(hanging, "_is_ending", False)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    return sent


def run_pages(number: int, has_begun: Callable[[], bool] = bool, path: str = "/page/") -> None:
    """Run this many pages until each has had its time."""

    async def page() -> None:
        with hanging.watched(path, has_begun):
            await asyncio.sleep(0.02)

    async def pages() -> None:
        await asyncio.gather(*(page() for _ in range(number)))

    asyncio.run(pages())


def test_worker_with_many_hanging_pages_ends_once(signals: list[int]) -> None:
    run_pages(3 * hanging.LIMIT)

    assert signals == [signal.SIGTERM]
    assert hanging.is_ending()


def test_few_hanging_pages_end_no_worker(
    signals: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """A page that has ended after all no longer counts."""
    for _ in range(3):
        run_pages(hanging.LIMIT - 1, path=RESET_LINK)

    assert not signals
    assert not hanging.is_ending()
    assert "/accounts/reset/MQ/***/ hangs" in caplog.text


def test_pages_with_a_response_do_not_hang(signals: list[int]) -> None:
    run_pages(3 * hanging.LIMIT, has_begun=lambda: True)

    assert not signals


@pytest.mark.parametrize(("pid", "ends"), [(hanging.LIMIT, True), (hanging.LIMIT + 1, False)])
def test_workers_of_a_server_have_different_limits(
    monkeypatch: pytest.MonkeyPatch, signals: list[int], pid: int, ends: bool
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: pid)

    run_pages(hanging.LIMIT)

    assert bool(signals) is ends
