"""The stack's tables."""

import uuid

from django.db import models


class WorkerBeat(models.Model):
    """When each worker last reported that it is healthy."""

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


class Task(models.Model):
    """A task that is not lost: ops.tasks changes its state."""

    class Status(models.TextChoices):
        """Where the task is on its way."""

        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    # JSON, as Celery's own messages have it.
    args = models.TextField(default="[]")
    kwargs = models.TextField(default="{}")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.WAITING)
    # From when on it may run.
    due = models.DateTimeField()
    # When its message was sent; empty if the broker did not accept it, or it is not due.
    sent = models.DateTimeField(null=True, blank=True)
    # The message that runs it, or ran it last, and until when.
    message = models.CharField(max_length=64, blank=True)
    lease = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    # How often the worker that ran it was lost.
    losses = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)
    # Of the request that caused it, for the logs.
    request_id = models.CharField(max_length=64, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True, blank=True)

    class Meta:
        """In the order in which they are sent."""

        ordering = ("due", "id")
        indexes = (
            models.Index(fields=["status", "due"], name="ops_task_status_due"),
            models.Index(fields=["status", "sent", "due"], name="ops_task_status_sent"),
            models.Index(fields=["status", "lease"], name="ops_task_status_lease"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"


class ScheduledTask(models.Model):
    """When an entry of CELERY_BEAT_SCHEDULE was last due: ops.tasks.schedule writes it."""

    name = models.CharField(max_length=255, primary_key=True)
    last = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Mail(models.Model):
    """A mail that is to be sent: ops.mail writes it, and deletes it once it is sent."""

    sender = models.TextField()
    # Addresses, all that get it.
    recipients = models.JSONField()
    # As a mail server gets it.
    message = models.BinaryField()
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    # Set where sent mails are kept to be shown.
    sent = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"mail {self.pk}"
