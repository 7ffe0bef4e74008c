"""The demo's tables."""

import uuid

from django.conf import settings
from django.db import models, transaction
from django.db.models import F


class Counter(models.Model):
    """A named number that many processes count up at once."""

    name = models.CharField(max_length=64, primary_key=True)
    value = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"

    @classmethod
    def increment(cls, name: str) -> int:
        """Add one and return the new value, which no other caller gets.

        The database adds, under the row's lock; the lock is held until the value is read.
        """
        with transaction.atomic():
            if not cls._add_one(name):
                cls.objects.get_or_create(name=name)
                cls._add_one(name)
            return cls.read(name)

    @classmethod
    def read(cls, name: str) -> int:
        """Return the value; 0 for a counter that was never counted up."""
        return cls.objects.filter(name=name).values_list("value", flat=True).first() or 0

    @classmethod
    def _add_one(cls, name: str) -> int:
        return cls.objects.filter(name=name).update(value=F("value") + 1)


class Upload(models.Model):
    """A image that a user has sent, and what the worker has made of it (demo.tasks)."""

    class Status(models.TextChoices):
        """How far its task is."""

        QUEUED = "queued"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads"
    )
    # As the user called it, for people; no file is ever called so.
    name = models.CharField(max_length=100)
    image = models.FileField(max_length=100)
    thumbnail = models.FileField(max_length=100, blank=True)
    bytes = models.PositiveBigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.QUEUED)
    error = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Newest first."""

        ordering = ("-created", "id")
        indexes = (
            models.Index(fields=["owner", "-created"], name="demo_upload_owner_created"),
            models.Index(fields=["status", "created"], name="demo_upload_status_created"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"
