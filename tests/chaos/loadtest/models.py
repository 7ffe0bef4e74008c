"""Rows that the load writes."""

from django.db import models


class Order(models.Model):
    """A write; the client chooses the unique key, so that a duplicate fails."""

    key = models.CharField(max_length=64, unique=True)

    class Meta:
        """The label of the app in the container."""

        app_label = "loadtest"

    def __str__(self) -> str:
        return self.key
