"""The stack's tables in the admin."""

from django.contrib import admin
from django.http import HttpRequest

from ops.models import ParkedTask, WorkerBeat


@admin.register(WorkerBeat)
class WorkerBeatAdmin(admin.ModelAdmin):
    """When each worker was last seen; written by the workers."""

    list_display = ("name", "seen")
    readonly_fields = ("name", "seen")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: a worker makes its own row."""
        return False


@admin.register(ParkedTask)
class ParkedTaskAdmin(admin.ModelAdmin):
    """Tasks that no running worker knows; a worker that does sends them."""

    list_display = ("task", "parked")
    readonly_fields = ("task", "message", "parked")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: workers park tasks."""
        return False
