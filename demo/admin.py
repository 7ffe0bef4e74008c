"""The demo's tables in the admin."""

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from demo.models import Counter, Upload
from demo.tasks import process_upload


@admin.register(Counter)
class CounterAdmin(admin.ModelAdmin):
    """Counters, read-only: the application counts."""

    list_display = ("name", "value")
    readonly_fields = ("name", "value")


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    """Uploads, read-only: staff can delete them and retry failed ones."""

    list_display = ("preview", "name", "owner", "status", "error", "bytes", "created")
    list_display_links = ("preview", "name")
    list_filter = ("status", "created")
    list_select_related = ("owner",)
    search_fields = ("id", "name", f"owner__{get_user_model().USERNAME_FIELD}", "sha256")
    date_hierarchy = "created"
    actions = ("try_again",)
    readonly_fields = ("preview", *(field.name for field in Upload._meta.fields))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: a row without its file would be worth nothing."""
        return False

    @admin.display(description="thumbnail")
    def preview(self, upload: Upload) -> SafeString | str:
        """Show the thumbnail, if there is one."""
        if not upload.thumbnail:
            return "-"
        return format_html('<img src="{}" alt="" height="60">', upload.thumbnail.url)

    @admin.action(description="Retry failed uploads", permissions=["change"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Upload]) -> None:
        """Queue those that failed; the others stay as they are."""
        count = 0
        with transaction.atomic():
            for upload in chosen.filter(status=Upload.Status.FAILED).select_for_update():
                upload.status, upload.error, upload.finished = Upload.Status.QUEUED, "", None
                upload.save()
                process_upload.delay(str(upload.pk))
                count += 1
        self.message_user(request, f"{count} queued again.", messages.SUCCESS)
