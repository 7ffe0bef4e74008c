"""A user who uploads images, and checks that uploads survive killed services."""

import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests

from demo.tests.images import make_image, make_slow_image
from tests.stack.compose import Stack, docker
from tests.stack.services import kill, start
from tests.waiting import eventually

# The task of a killed worker is sent again after its lease (30 s) and a round (5 s); the rest is
# for a busy machine.
REDELIVERY_SECONDS = 120
SETUP = "import django; django.setup()\nfrom demo.models import Upload\n"


class Uploader:
    """A user with an API token."""

    def __init__(self, stack: Stack) -> None:
        """Create the user in the database of the stack."""
        self.stack = stack
        self.name = f"user-{secrets.token_hex(4)}"
        self.token = stack.python_in(
            "server1",
            "import django; django.setup()\n"
            "from django.contrib.auth import get_user_model\n"
            "from rest_framework.authtoken.models import Token\n"
            f"user = get_user_model().objects.create_user({self.name!r})\n"
            "print(Token.objects.create(user=user).key)",
        ).splitlines()[-1]
        self.headers = {"Authorization": f"Token {self.token}"}

    def send(self, content: bytes = b"", name: str = "a.jpg") -> requests.Response:
        """Upload an image, and return the response."""
        return self.stack.post(
            "/api/uploads/", files={"image": (name, content or make_image())}, headers=self.headers
        )

    def upload(self, content: bytes = b"") -> dict[str, Any]:
        """Upload an image that must be accepted, and return the upload."""
        answer = self.send(content)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def find(self, upload: str) -> dict[str, Any]:
        """Return the current state of an upload."""
        answer = self.stack.get(f"/api/uploads/{upload}/", headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    def all(self) -> list[dict[str, Any]]:
        """Return at most 100 uploads of this user."""
        answer = self.stack.get("/api/uploads/?page_size=100", headers=self.headers)
        answer.raise_for_status()
        return answer.json()["results"]

    def tasks(self) -> dict[str, tuple[str, int]]:
        """Return the status and the number of attempts of each upload's task."""
        output = self.stack.python_in(
            "server1",
            f"{SETUP}import json\nfrom ops.models import Task\n"
            f"mine = Upload.objects.filter(owner__username={self.name!r})\n"
            "keys = {str(pk) for pk in mine.values_list('pk', flat=True)}\n"
            "tasks = [(json.loads(t.args)[0], t) for t in Task.objects.all()]\n"
            "print(json.dumps({key: (t.status, t.attempts) for key, t in tasks if key in keys}))",
        )
        tasks: dict[str, tuple[str, int]] = json.loads(output.splitlines()[-1])
        return tasks

    def attempts(self) -> dict[str, int]:
        """Return the number of attempts of each upload's task."""
        return {upload: attempts for upload, (_, attempts) in self.tasks().items()}

    def wait_until_done(self, upload: str, *, seconds: float) -> dict[str, Any]:
        """Wait until an upload is done, and return it."""

        def is_done() -> dict[str, Any] | None:
            current = self.find(upload)
            assert current["status"] != "failed", current
            return current if current["status"] == "done" else None

        finished = eventually(is_done, seconds=seconds, what="the upload is done")
        assert finished is not None
        return finished

    def wait_until_all_done(self, *, seconds: float) -> list[dict[str, Any]]:
        """Wait until all uploads of this user are done, and return them."""

        def are_done() -> list[dict[str, Any]] | None:
            uploads = self.all()
            assert "failed" not in {upload["status"] for upload in uploads}, uploads
            return uploads if {upload["status"] for upload in uploads} == {"done"} else None

        finished = eventually(are_done, seconds=seconds, what="all uploads are done")
        assert finished is not None
        return finished


def files(stack: Stack, folder: str) -> list[str]:
    """Return the files in a folder of the media volume."""
    return stack.run_in("server1", "ls", f"/srv/media/{folder}").split()


def states(user: Uploader) -> dict[str, str]:
    """Return the state of every upload of a user."""
    output = user.stack.python_in(
        "server1",
        f"{SETUP}import json\n"
        f"rows = Upload.objects.filter(owner__username={user.name!r})\n"
        "print(json.dumps({str(pk): status for pk, status in rows.values_list('pk', 'status')}))",
    )
    states: dict[str, str] = json.loads(output.splitlines()[-1])
    return states


def signal_task_processes(stack: Stack, name: str) -> None:
    """Send a signal to the worker's child processes, which run the tasks."""
    stack.run_in("worker", "sh", "-c", f"kill -{name} -1")


def freeze_running_tasks(user: Uploader) -> list[str]:
    """Stop the processes of tasks, and return running uploads; resume if there are none."""
    signal_task_processes(user.stack, "STOP")
    running = [upload for upload, (status, _) in user.tasks().items() if status == "running"]
    if not running:
        signal_task_processes(user.stack, "CONT")
    return running


def check_killed_worker_loses_no_task(user: Uploader) -> None:
    """Kill the worker during tasks; every upload is done, interrupted ones at attempt 2."""
    stack = user.stack
    # No task runs before all of them are queued.
    signal_task_processes(stack, "STOP")
    # Slow images, so that the kill interrupts tasks.
    with ThreadPoolExecutor(2) as pool:
        upload_ids = [upload["id"] for upload in pool.map(user.upload, [make_slow_image()] * 8)]
    signal_task_processes(stack, "CONT")
    running = eventually(lambda: freeze_running_tasks(user), seconds=30, what="a task runs")

    docker("kill", "--signal", "KILL", stack.container("worker"))
    start(stack, "worker")

    user.wait_until_all_done(seconds=REDELIVERY_SECONDS)
    names = files(stack, "thumbnails")
    for upload in upload_ids:
        assert [name for name in names if upload in name] == [f"{upload}.png"]
    attempts = user.attempts()
    assert [attempts[upload] for upload in running] == [2] * len(running)


@dataclass(frozen=True)
class UploadFigures:
    """The figures of many uploads."""

    codes: Counter[int]
    longest: float
    sending: float
    doing: float


def check_uploads_survive_kills(
    user: Uploader, uploads: int, visitors: int, kills: Mapping[str, float], *, seconds: float
) -> UploadFigures:
    """Upload many images while containers are killed; every accepted one is processed once.

    Args:
        user: the user who uploads.
        uploads: the number of uploads.
        visitors: the number of parallel clients.
        kills: services, each with the share of responses after which it is killed.
        seconds: how long processing may take after the last upload.
    """
    # Few images for many uploads, since creating them would load the machine.
    images = [make_image() for _ in range(20)]
    answers: list[Future[requests.Response]] = []

    def is_due(share: float) -> bool:
        return sum(answer.done() for answer in answers) >= share * uploads

    started = time.monotonic()
    with ThreadPoolExecutor(visitors) as pool:
        answers += [pool.submit(user.send, random.choice(images)) for _ in range(uploads)]
        for service, share in kills.items():
            eventually(lambda share=share: is_due(share), seconds=300, what=f"{share:.0%} answered")  # type: ignore[misc]
            kill(user.stack, service)
    sent = time.monotonic()
    responses = [answer.result() for answer in answers]
    accepted = {answer.json()["id"] for answer in responses if answer.status_code == 201}

    def all_done() -> bool:
        now = states(user)
        return {now.get(upload) for upload in accepted} == {"done"}

    eventually(all_done, seconds=seconds, what="every upload is done")
    done = time.monotonic()
    names = Counter(name.partition(".")[0] for name in files(user.stack, "thumbnails"))
    assert {names[upload] for upload in accepted} == {1}
    return UploadFigures(
        Counter(answer.status_code for answer in responses),
        max(answer.elapsed.total_seconds() for answer in responses),
        sent - started,
        done - sent,
    )
