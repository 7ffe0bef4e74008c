"""What the tests of all apps, yours too, and the stack's unit tests share."""

# remove_template: begin
from collections.abc import Iterator
from urllib.request import Request, urlopen

# remove_template: end
import pytest
from django.core.cache import cache

from tests.ports import free_port  # remove_template

# remove_template: begin
# What lets a test use the settings' database.
ASKS_FOR_ONE = {"db", "transactional_db", "django_db_setup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a database: tests/stack runs them on MySQL and PostgreSQL as well."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or names & ASKS_FOR_ONE:
            item.add_marker("database")


# remove_template: end
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


# remove_template: begin
@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Return the address of an S3 server."""
    # A second of imports, for those alone who ask for it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    # Its data are the process's, not the server's.
    with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
        server.stop()


# remove_template: end
