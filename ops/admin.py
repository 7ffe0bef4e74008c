"""The stack's tables in the admin."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from ops.models import ParkedTask, Task, WorkerBeat
from ops.tasks import rows


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


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin):
    """Durable tasks (ops.tasks), read-only: staff can retry failed ones."""

    list_display = ("name", "status", "due", "attempts", "error", "created", "finished")
    list_filter = ("status", "name", "created")
    search_fields = ("id", "name", "args", "kwargs", "request_id")
    actions = ("try_again",)
    readonly_fields = tuple(field.name for field in Task._meta.fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: the application adds tasks."""
        return False

    @admin.action(description="Retry failed tasks", permissions=["change"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Task]) -> None:
        """Let those run again that failed; the others stay as they are."""
        count = rows.retry(list(chosen.values_list("pk", flat=True)))
        self.message_user(request, f"{count} will run again.", messages.SUCCESS)
