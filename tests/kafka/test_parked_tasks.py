"""The test of tests/unit/test_parked_tasks.py with Kafka as the broker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.harness import Cluster
from tests.kafka.tasks import kafka_settings
from tests.unit.test_parked_tasks import (
    own_queue,
    pytestmark,
    test_unregistered_task_is_parked_until_a_release_knows_it,
)

__all__ = ["pytestmark", "test_unregistered_task_is_parked_until_a_release_knows_it"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the Celery settings for Kafka, with the test's own queue."""
    queue = own_queue()
    cluster = Cluster(tmp_path, queue["task_default_queue"])
    yield {**kafka_settings(cluster.address), **queue}
    cluster.kill()
