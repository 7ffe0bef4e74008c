"""The application's tables in the admin."""

from django.contrib import admin

from api.models import Counter


@admin.register(Counter)
class CounterAdmin(admin.ModelAdmin):
    """Counters are counted by the application; people look at them."""

    list_display = ("name", "value")
    readonly_fields = ("name", "value")
