"""What the tests of all apps, yours too, and the stack's unit tests share."""

import pytest
from django.core.cache import cache

# What lets a test use the settings' database.
ASKS_FOR_ONE = {"db", "transactional_db", "django_db_setup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a database: tests/stack runs them on MySQL and PostgreSQL as well."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or names & ASKS_FOR_ONE:
            item.add_marker("database")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Start each test with an empty cache, closed breakers and nothing known of health."""
    from ops import breaker
    from ops.status import report as status
    from ops.status import servers

    # The sign-in attempts of all tests come from one address.
    cache.clear()
    servers.RECENT.forget()
    status.HEALTH.forget()
    for one in (breaker.DATABASE, breaker.REDIS, breaker.BROKER, breaker.STORAGE):
        one.close()
