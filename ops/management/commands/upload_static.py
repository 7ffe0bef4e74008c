"""Bring the static files to the bucket that all servers share."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ops.storage import static_bucket


class Command(BaseCommand):
    """Send what is missing in AWS_STATIC_BUCKET_NAME; nothing without one."""

    help = "Uploads this release's static files to AWS_STATIC_BUCKET_NAME; only missing ones."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the files, and print how many.

        Raises:
            CommandError: the bucket cannot be used.
        """
        if not settings.STATIC_BUCKET:
            return
        try:
            sent, count = static_bucket.upload()
        except static_bucket.StaticBucketError as error:
            raise CommandError(f"the static files are not all in {error}") from None
        self.stdout.write(f"static files: {sent} of {count} uploaded, the others were up to date")
