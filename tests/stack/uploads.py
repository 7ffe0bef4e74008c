"""A user of the stack who uploads images, and what such uploads have to outlive."""

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

# A killed worker's task is sent again after the lease (30 s) and a round (5 s), when the broker
# is reached again; the rest is for a busy machine.
REDELIVERY_SECONDS = 120
SETUP = "import django; django.setup()\nfrom demo.models import Upload\n"


class Uploader:
    """One user, with a token."""

    def __init__(self, stack: Stack) -> None:
        """Make the user in the stack's database."""
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
        """Upload an image."""
        return self.stack.post(
            "/api/uploads/", files={"image": (name, content or make_image())}, headers=self.headers
        )

    def upload(self, content: bytes = b"") -> dict[str, Any]:
        """Upload a picture that must be taken, and return what was answered."""
        answer = self.send(content)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def find(self, upload: str) -> dict[str, Any]:
        """Return an upload as it is now."""
        answer = self.stack.get(f"/api/uploads/{upload}/", headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    def all(self) -> list[dict[str, Any]]:
        """Return this user's uploads, a hundred at most."""
        answer = self.stack.get("/api/uploads/?page_size=100", headers=self.headers)
        answer.raise_for_status()
        return answer.json()["results"]

    def tasks(self) -> dict[str, tuple[str, int]]:
        """Return the status of each upload's task, and how often it was begun."""
        output = self.stack.python_in(
            "server1",
            f"{SETUP}import json\nfrom ops.models import Task\n"
            f"mine = Upload.objects.filter(owner__username={self.name!r})\n"
            "keys = {str(pk) for pk in mine.values_list('pk', flat=True)}\n"
            "tasks = [(json.loads(t.args)[0], t) for t in Task.objects.all()]\n"
            "print(json.dumps({key: (t.status, t.attempts) for key, t in tasks if key in keys}))",
        )
        found: dict[str, tuple[str, int]] = json.loads(output.splitlines()[-1])
        return found

    def attempts(self) -> dict[str, int]:
        """Return how often the task of each of this user's uploads was begun."""
        return {upload: attempts for upload, (_, attempts) in self.tasks().items()}

    def wait_until_done(self, upload: str, *, seconds: float) -> dict[str, Any]:
        """Wait until an upload is done, and return it."""

        def is_done() -> dict[str, Any] | None:
            found = self.find(upload)
            assert found["status"] != "failed", found
            return found if found["status"] == "done" else None

        found = eventually(is_done, seconds=seconds, what="the upload is done")
        assert found is not None
        return found

    def wait_until_all_done(self, *, seconds: float) -> list[dict[str, Any]]:
        """Wait until all of this user's uploads are done, and return them."""

        def are_done() -> list[dict[str, Any]] | None:
            found = self.all()
            assert "failed" not in {upload["status"] for upload in found}, found
            return found if {upload["status"] for upload in found} == {"done"} else None

        found = eventually(are_done, seconds=seconds, what="all uploads are done")
        assert found is not None
        return found


def files(stack: Stack, folder: str) -> list[str]:
    """Return the files in a folder of the media volume."""
    return stack.run_in("server1", "ls", f"/srv/media/{folder}").split()


def states(user: Uploader) -> dict[str, str]:
    """Return the state of each of a user's uploads, however many."""
    output = user.stack.python_in(
        "server1",
        f"{SETUP}import json\n"
        f"found = Upload.objects.filter(owner__username={user.name!r})\n"
        "print(json.dumps({str(pk): status for pk, status in found.values_list('pk', 'status')}))",
    )
    found: dict[str, str] = json.loads(output.splitlines()[-1])
    return found


def signal_task_processes(stack: Stack, name: str) -> None:
    """Send a signal to the worker's processes that do the jobs: all but the first one."""
    stack.run_in("worker", "sh", "-c", f"kill -{name} -1")


def freeze_running_tasks(user: Uploader) -> list[str]:
    """Stop the jobs where they are and return the running ones; let them go on if none is."""
    signal_task_processes(user.stack, "STOP")
    running = [upload for upload, (status, _) in user.tasks().items() if status == "running"]
    if not running:
        signal_task_processes(user.stack, "CONT")
    return running


def check_killed_worker_loses_no_task(user: Uploader) -> None:
    """Kill the worker while it is at pictures; check that each is done, those once more."""
    stack = user.stack
    # None is done before all of them wait.
    signal_task_processes(stack, "STOP")
    # Slow ones, so that there is a middle.
    with ThreadPoolExecutor(2) as pool:
        upload_ids = [upload["id"] for upload in pool.map(user.upload, [make_slow_image()] * 8)]
    signal_task_processes(stack, "CONT")
    running = eventually(lambda: freeze_running_tasks(user), seconds=30, what="a job runs")

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
    """What became of many uploads."""

    codes: Counter[int]
    longest: float
    sending: float
    doing: float


def check_uploads_survive_kills(
    user: Uploader, uploads: int, visitors: int, kills: Mapping[str, float], *, seconds: float
) -> UploadFigures:
    """Upload many pictures while containers are killed; check that each 201 is done, once.

    Args:
        user: whose uploads they are.
        uploads: how many.
        visitors: how many at once.
        kills: the services, each with the share of answers after which it is killed.
        seconds: how long the last of them may take to be done.
    """
    # Few pictures for many uploads: making them would keep the machine busier than what is tested.
    images = [make_image() for _ in range(20)]
    answers: list[Future[requests.Response]] = []

    def taken(share: float) -> bool:
        return sum(answer.done() for answer in answers) >= share * uploads

    started = time.monotonic()
    with ThreadPoolExecutor(visitors) as pool:
        answers += [pool.submit(user.send, random.choice(images)) for _ in range(uploads)]
        for service, share in kills.items():
            eventually(lambda share=share: taken(share), seconds=300, what=f"{share:.0%} are taken")  # type: ignore[misc]
            kill(user.stack, service)
    sent = time.monotonic()
    found = [answer.result() for answer in answers]
    accepted = {answer.json()["id"] for answer in found if answer.status_code == 201}

    def all_done() -> bool:
        now = states(user)
        return {now.get(upload) for upload in accepted} == {"done"}

    eventually(all_done, seconds=seconds, what="every upload is done")
    done = time.monotonic()
    names = Counter(name.partition(".")[0] for name in files(user.stack, "thumbnails"))
    assert {names[upload] for upload in accepted} == {1}
    return UploadFigures(
        Counter(answer.status_code for answer in found),
        max(answer.elapsed.total_seconds() for answer in found),
        sent - started,
        done - sent,
    )
