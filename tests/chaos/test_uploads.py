"""Many uploads while what works on them is killed and started again; many visits at once."""

import json
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import requests

from tests.chaos.load import Client, Load, Request
from tests.chaos.reliability import Figures
from tests.pictures import picture
from tests.stack.compose import Stack, docker
from tests.stack.uploads import Uploader
from tests.waiting import eventually

UPLOADS = 1000
VISITS = 10_000
VISITORS = 16
# A lost job comes back after its lease of 30 s and the next sweep; the rest is for the thumbnails.
DONE_SECONDS = 300

STATES = """
import json
import django
django.setup()
from api.models import Upload
found = Upload.objects.filter(owner__username={name!r}).values_list("pk", "status")
print(json.dumps({{str(pk): status for pk, status in found}}))
"""


def states(stack: Stack, user: Uploader) -> dict[str, str]:
    """Return the state of each of a user's uploads."""
    found: dict[str, str] = json.loads(
        stack.python_in("server1", STATES.format(name=user.name)).splitlines()[-1]
    )
    return found


def kill(stack: Stack, service: str) -> None:
    """Kill a service's container and start it again."""
    docker("kill", "--signal", "KILL", stack.container(service))
    stack.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", service)


def test_a_thousand_uploads_outlive_the_worker_and_redis(loaded: Stack, figures: Figures) -> None:
    user = Uploader(loaded)
    # Few pictures for many uploads: making them would keep the machine busier than what is tested.
    pictures = [picture() for _ in range(20)]
    answers: list[Future[requests.Response]] = []

    def taken(share: float) -> bool:
        return sum(answer.done() for answer in answers) >= share * UPLOADS

    begun = time.monotonic()
    with ThreadPoolExecutor(VISITORS) as pool:
        answers += [pool.submit(user.send, random.choice(pictures)) for _ in range(UPLOADS)]
        for service, share in (("worker", 0.3), ("redis", 0.6)):
            eventually(lambda share=share: taken(share), seconds=300, what=f"{share:.0%} are taken")  # type: ignore[misc]
            kill(loaded, service)
    sent = time.monotonic()
    codes = Counter(answer.result().status_code for answer in answers)
    accepted = {a.result().json()["id"] for a in answers if a.result().status_code == 201}

    eventually(
        lambda: set(states(loaded, user).values()) == {"done"},
        seconds=DONE_SECONDS,
        what="every upload is done",
    )

    done = time.monotonic()
    figures.note(
        f"{UPLOADS:,} uploads by {VISITORS} visitors; worker, then Redis killed",
        "every 201 ends as done, none lost, one thumbnail each",
        requests=UPLOADS,
        failed=UPLOADS - codes[201],
        longest=max(answer.result().elapsed.total_seconds() for answer in answers),
        seen=f"taken in {sent - begun:.0f} s, all done {done - sent:.0f} s later",
    )
    assert codes == {201: UPLOADS}
    assert set(states(loaded, user)) == accepted
    names = loaded.run_in("server1", "ls", "/srv/media/thumbnails").split()
    thumbnails = Counter(name.partition(".")[0] for name in names)
    assert {thumbnails[upload] for upload in accepted} == {1}


def test_many_visits_are_counted_exactly(loaded: Stack, figures: Figures) -> None:
    before = loaded.get("/api/hits/").json()["hits"]
    count = Request("POST", "/api/hits/")
    clients = [Client(iter([count] * (VISITS // VISITORS)), pause=0) for _ in range(VISITORS)]
    load = Load(loaded.http_port, clients)
    with load:
        eventually(
            lambda: len(load.outcomes) == VISITS, seconds=300, what="every visit is answered"
        )

    after = loaded.get("/api/hits/").json()["hits"]
    figures.add(
        f"{VISITS:,} visits counted by {VISITORS} visitors",
        "the counter is exact",
        load,
        f"counted {after - before:,}",
    )
    assert not load.failed, load.summary()
    assert after - before == VISITS
