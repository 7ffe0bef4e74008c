"""Threads that run in parallel to a test during a `with` block."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

Task = Callable[[threading.Event], object]


class InBackground:
    """Tasks in threads, which are signalled to end and joined at the end of the block."""

    def __init__(self, tasks: Sequence[Task], *, end_seconds: float) -> None:
        """Prepare the threads; entering the block starts them.

        Args:
            tasks: each is called once, with the event that is set when the block ends.
            end_seconds: how long a task may take to end after that.
        """
        self.end_seconds = end_seconds
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=task, args=(self.over,), daemon=True) for task in tasks
        ]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(self.end_seconds)
            if thread.is_alive():
                raise AssertionError(
                    f"{type(self).__name__}: still running after {self.end_seconds} s"
                )
