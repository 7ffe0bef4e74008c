"""Fixtures of the account tests."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def clear_login_attempts() -> Iterator[None]:
    """Count the sign-in attempts of each test alone."""
    cache.clear()
    yield
    cache.clear()
