"""What the load writes."""

from django.db import models


class Order(models.Model):
    """One acknowledged write; the key comes from the client, so that nothing is written twice."""

    key = models.CharField(max_length=64, unique=True)

    class Meta:
        """Named for the app that Django sees in the container."""

        app_label = "loadtest"

    def __str__(self) -> str:
        return self.key
