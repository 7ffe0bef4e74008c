"""When the stack was last backed up: metrics for Prometheus, and an error where it is overdue.

stackctl notes it in a file of the stack's volume (tools/stackctl/remote/record.py).
"""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.mail import mail_admins
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

RECORD = Path("/srv/stackctl/backup.json")
# A day, and what a timer's random delay and an upload add.
OVERDUE_SECONDS = 26 * 3600
CHECK_SECONDS = 60
_TIMES = {
    "succeeded": ("success", "When the last good backup was made."),
    "verified": ("verified", "When a backup was last loaded and compared."),
    "failed": ("failure", "When a scheduled backup last failed."),
}


def known() -> dict[str, Any]:
    """Return what is noted; nothing where no backup was made, or the file is damaged."""
    try:
        noted = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


class Backups(Collector):
    """The times of backups, in seconds since 1970."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none where no backup was made."""
        noted = known()
        for key, (name, text) in _TIMES.items():
            if noted.get(key):
                metric = f"mysite_backup_last_{name}_timestamp_seconds"
                yield GaugeMetricFamily(metric, text, float(noted[key]))


class Watch:
    """Reports each failed backup once, and one that is overdue once a day."""

    def __init__(self) -> None:
        """Report what happens from now on."""
        self.since = time.time()
        self.complained = 0.0

    def check(self) -> None:
        """Log what is wrong as an error, and mail it to ADMINS."""
        noted, now = known(), time.time()
        failed = float(noted.get("failed") or 0)
        if failed > self.since:
            self.since = failed
            report(f"The backup failed: {noted.get('problem')}", str(noted.get("next") or ""))
        # Only where a timer makes them: backups by hand have no schedule.
        late = now - float(noted.get("succeeded") or noted.get("failed") or now)
        if noted.get("scheduled") and late > OVERDUE_SECONDS and now > self.complained + 86_400:
            self.complained = now
            report(
                f"The last good backup is {late / 3600:.0f} hours old",
                "Does its timer run? docs/backups.md",
            )


def report(problem: str, hint: str) -> None:
    """Log an error, and mail it."""
    logger.error("%s. %s", problem, hint)
    if settings.ADMINS:
        mail_admins(problem[:200], f"{problem}\n\n{hint}\n", fail_silently=True)
