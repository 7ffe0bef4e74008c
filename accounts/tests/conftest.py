"""What these tests share."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def no_other_attempts() -> Iterator[None]:
    """Keep each test's sign-in attempts to itself; they are limited together."""
    cache.clear()
    yield
    cache.clear()
