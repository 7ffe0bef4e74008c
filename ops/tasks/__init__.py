"""Tasks that are not lost: `@shared_task(base=DurableTask)`.

A row of the table ops_task says what is to be done; messages only make it happen soon.
"""

from ops.tasks.durable import DurableTask

__all__ = ["DurableTask"]
