"""Deletes many rows in short transactions: one long one would hold locks, or run into a timeout."""

from typing import Any

from django.db.models import QuerySet

ROUND = 1000


def delete(rows: QuerySet[Any]) -> int:
    """Delete rows, a thousand at a time; return how many.

    Raises:
        django.db.Error: the database is down.
    """
    count = 0
    while keys := list(rows.values_list("pk", flat=True)[:ROUND]):
        count += rows.model.objects.filter(pk__in=keys).delete()[0]
    return count
