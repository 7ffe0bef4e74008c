"""More rows in the table of tasks that are not lost (ops/tasks/rows.py)."""

import json
from collections.abc import Callable

from benchmarks.growth.curve import Curve
from benchmarks.release import ReleaseStack

ROWS = (10, 1_000, 100_000)
# What WORK prints, in this order.
NAMES = (
    "median ms: to write and send a task",
    "a round with none to send",
    "a round that sends one",
    "a round for lost tasks",
)
# Half of the rows wait for a worker, half are done. The median of 100 times says the same on a
# busy machine, where one time would not.
WORK = """
import json, sys, time
from statistics import median
import django
django.setup()
from django.utils import timezone
from ops.models import Task
from ops.tasks import rows

NAME = "ops.mail.send"
now = timezone.now()
done = {"status": Task.Status.DONE, "finished": now}
missing = int(sys.argv[1]) - Task.objects.count()
several = ({"name": NAME, "args": "[0]", "due": now, "sent": now} for _ in range(missing))
tasks = (Task(**values, **done if n % 2 else {}) for n, values in enumerate(several))
Task.objects.bulk_create(tasks, batch_size=1000)

def median_ms(work, prepare=lambda: None):
    seconds = []
    for _ in range(100):
        prepare()
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return median(seconds) * 1000

one = rows.add(NAME, [0], {}, now)
unsent = lambda: Task.objects.filter(pk=one.pk).update(sent=None)
print(json.dumps([
    median_ms(lambda: rows.send(rows.add(NAME, [0], {}, now))),
    median_ms(rows.send_due),
    median_ms(rows.send_due, unsent),
    median_ms(rows.recover),
]))
"""


def measure(stack: ReleaseStack, say: Callable[[str], None]) -> Curve:
    """Write, send and recover tasks next to each number of rows; no worker runs afterwards.

    Raises:
        EngineError: a command failed.

    """
    stack.compose("stop", "worker")
    points = []
    for number in ROWS:
        figures = json.loads(stack.python(WORK, str(number)).splitlines()[-1])
        say(f"{number} rows: {figures}")
        points.append((number, tuple(figures)))
    return Curve("rows", NAMES, tuple(points))
