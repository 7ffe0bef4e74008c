"""A test of tests/unit/test_parked_tasks.py once more, with Kafka as broker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.harness import Cluster
from tests.kafka.jobs import on
from tests.unit.test_parked_tasks import (
    own_queue,
    pytestmark,
    test_unregistered_task_is_parked_until_a_release_knows_it,
)

__all__ = ["pytestmark", "test_unregistered_task_is_parked_until_a_release_knows_it"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return Celery's settings of Kafka, with a queue of the test's own."""
    queue = own_queue()
    cluster = Cluster(tmp_path, queue["task_default_queue"])
    yield {**on(cluster.address), **queue}
    cluster.kill()
