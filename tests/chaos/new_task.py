"""A release that adds a task and a view that sends it, and the outcome of each task."""

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited

# Four requests a second.
INTERVAL = 0.25
ACCEPTED = 202
TASK = """
from celery import shared_task
from django.contrib.auth.models import Group

@shared_task(name="api.added")
def added(key: str) -> None:
    Group.objects.get_or_create(name=key)
"""
VIEW_AND_URL = """
from django.http import HttpRequest, HttpResponse

from mysite.celery import app


def add(request: HttpRequest, key: str) -> HttpResponse:
    # By name, since the server does not import the task.
    app.send_task("api.added", args=[f"added-{key}"])
    return HttpResponse(status=202)


urlpatterns = [
    path("api/added/<str:key>/", add),
"""
COUNT_TASKS = """
import json
import django
django.setup()
from django.contrib.auth.models import Group
from ops.models import ParkedTask
done = Group.objects.filter(name__startswith="added-").values_list("name", flat=True)
print(json.dumps([list(done), ParkedTask.objects.filter(task="api.added").count()]))
"""


@contextmanager
def release_with_a_new_task(stack: Stack) -> Iterator[None]:
    """Add the task and its view to the tree during the block."""
    api = stack.tree / "api"
    tasks = api / "tasks.py"
    tasks.write_text(TASK)
    try:
        with edited(api / "urls.py", "\nurlpatterns = [\n", VIEW_AND_URL):
            yield
    finally:
        tasks.unlink()


def task_requests() -> Iterator[Request]:
    """Yield requests that send one task each; a release without the view answers 404."""
    for _ in itertools.count():
        yield Request("GET", f"/api/added/{uuid.uuid4()}/", ACCEPTED)


class TaskLoad(Load):
    """A client that sends tasks, each with its own key."""

    def __init__(self, stack: Stack) -> None:
        """Prepare the client; entering the block starts it."""
        self.stack = stack
        super().__init__(stack.http_port, [Client(task_requests(), interval=INTERVAL)])

    @property
    def accepted(self) -> set[str]:
        """Return the keys of the tasks that were accepted."""
        return {
            f"added-{outcome.request.path.split('/')[-2]}"
            for outcome in self.outcomes
            if outcome.status == ACCEPTED
        }

    def lost(self) -> set[str]:
        """Return the accepted tasks that are not done; they may be parked or queued."""
        return self.accepted - set(self.count_tasks()[0])

    def count_tasks(self) -> tuple[list[str], int]:
        """Return the keys of the finished tasks, and the number of parked tasks."""
        done, parked = json.loads(self.stack.python_in("server1", COUNT_TASKS))
        return done, int(parked)
