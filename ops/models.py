"""The stack's tables."""

from django.db import models


class WorkerBeat(models.Model):
    """When each worker was last seen to be well."""

    name = models.CharField(max_length=128, primary_key=True)
    seen = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class ParkedTask(models.Model):
    """A task's message that no running worker knows: ops.worker.parking sends it again."""

    task = models.CharField(max_length=255, db_index=True)
    # JSON: the body as base64, headers and properties.
    message = models.TextField()
    parked = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.task
