"""A pause after a failure, so that not every request waits for a server that is away."""

import time


class Breaker:
    """Open for some seconds after it was tripped; each process has its own."""

    def __init__(self, *, seconds: float) -> None:
        """Keep for how many seconds it stays open."""
        self.seconds = seconds
        self.until = 0.0

    @property
    def open(self) -> bool:
        """Tell whether to leave the server alone."""
        return time.monotonic() < self.until

    def trip(self) -> None:
        """Open it."""
        self.until = time.monotonic() + self.seconds

    def reset(self) -> None:
        """Close it."""
        self.until = 0.0
