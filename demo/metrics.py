"""How many uploads wait, as a worker's metrics."""

import logging
from collections.abc import Iterator

from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from demo.models import Upload

logger = logging.getLogger(__name__)


class Uploads(Collector):
    """Counted at each scrape; left out while the database is down."""

    def collect(self) -> Iterator[Metric]:
        """Count the uploads that are not processed yet, and since when."""
        waiting = Upload.objects.filter(status=Upload.Status.QUEUED)
        try:
            result = waiting.aggregate(number=Count("pk"), oldest=Min("created"))
        except Exception as error:
            logger.info("cannot read upload metrics: %s", error)
            return
        finally:
            # The thread of this scrape ends with it.
            connection.close()
        oldest = result["oldest"]
        age = (timezone.now() - oldest).total_seconds() if oldest else 0
        yield GaugeMetricFamily(
            "mysite_uploads_waiting",
            "Uploads that are not processed yet.",
            result["number"],
        )
        yield GaugeMetricFamily(
            "mysite_uploads_oldest_waiting_seconds",
            "Seconds that the oldest has waited.",
            max(0, age),
        )
