"""What all unit tests share."""

import pytest


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Let each test look for itself, whatever the one before has found."""
    from api import servers, status

    servers.RECENT.forget()
    status.HEALTH.forget()
