"""Pages of an ASGI server that hang, and the end of a worker that has many."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import LazySettings

from ops import hanging

RESET_LINK = "/accounts/reset/MQ/abcdef-0123456789abcdef0123456789abcdef/"


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, tmp_path: Path) -> list[int]:
    """Return the signals that this process sends itself; pages hang at once."""
    settings.REQUEST_SECONDS = 0
    settings.DRAIN_FILE = tmp_path / "drain"
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


def test_worker_ends_after_another_one_of_its_server(
    monkeypatch: pytest.MonkeyPatch, signals: list[int]
) -> None:
    turns = iter([False, True])
    monkeypatch.setattr(hanging, "RETRY_SECONDS", 0.005)
    monkeypatch.setattr(hanging, "take_turn", lambda: next(turns))

    run_pages(hanging.LIMIT)

    assert signals == [signal.SIGTERM]


def test_one_worker_of_a_server_has_the_turn_until_it_has_ended(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.DRAIN_FILE = tmp_path / "drain"
    with (tmp_path / "hanging.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not hanging.take_turn()

    assert hanging.take_turn()
