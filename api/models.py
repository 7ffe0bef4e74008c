"""The application's tables."""

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
