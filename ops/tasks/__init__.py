"""Tasks that are not lost: `@shared_task(base=DurableTask)`.

A row of the table ops_task is the task; a message only starts it soon.
"""

from ops.tasks.durable import DurableTask

__all__ = ["DurableTask"]
