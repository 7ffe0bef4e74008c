"""Uploads through every tier, and outages of broker, Redis and worker."""

import hashlib
import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from demo.tests.images import make_image, make_slow_image
from ops.environment.contract import VARIABLES
from tests.stack.compose import Stack
from tests.stack.services import components, stopped
from tests.stack.uploads import (
    REDELIVERY_SECONDS,
    Uploader,
    check_killed_worker_loses_no_task,
    files,
)
from tests.waiting import eventually

VISITS = 1000


@pytest.fixture(scope="module")
def user(production: Stack) -> Uploader:
    """Create a user of the production stack."""
    return Uploader(production)


def test_nginx_serves_an_upload_and_its_thumbnail(production: Stack, user: Uploader) -> None:
    content = make_image(size=(1600, 1200))

    made = user.upload(content)
    done = user.wait_until_done(made["id"], seconds=30)

    assert done["sha256"] == hashlib.sha256(content).hexdigest()
    original, thumbnail = production.get(done["image"]), production.get(done["thumbnail"])
    assert original.content == content
    assert Image.open(io.BytesIO(thumbnail.content)).size == (320, 240)
    for answer in (original, thumbnail):
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        # nginx sets it, Django does not.
        assert "ETag" in answer.headers


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "WEBP"])
def test_image_is_served_with_its_content_type(
    production: Stack, user: Uploader, image_format: str
) -> None:
    made = user.upload(make_image(image_format))

    content_type = production.get(made["image"]).headers["Content-Type"]

    assert content_type == f"image/{image_format.lower()}"
    user.wait_until_done(made["id"], seconds=30)


def test_too_large_upload_gets_413_in_json(production: Stack, user: Uploader) -> None:
    largest = int(VARIABLES["UPLOAD_MAX_MB"].default)
    over_django, over_nginx = (bytes(megabytes * 1_000_000) for megabytes in (largest, largest + 2))

    for answer in (user.send(make_image() + over_django), user.send(over_nginx)):
        assert answer.status_code == 413
        assert f"the limit is {largest} MB" in answer.json()["detail"]
    assert user.send(b"text").status_code == 400
    # No file is left.
    assert len(files(production, "uploads")) == len(files(production, "thumbnails"))


def test_uploads_without_a_broker_are_accepted_and_processed_later(
    production: Stack, user: Uploader
) -> None:
    with stopped(production, "redis"):
        begun = time.monotonic()
        made = [user.upload()["id"] for _ in range(4)]
        took = time.monotonic() - begun

        states = components(production)
        down = {name for name, state in states.items() if state == "down"}
        assert down == {"cache", "broker"}
        for path in ("/profile/", "/status/", "/readyz"):
            assert production.get(path).status_code == 200
        refused = production.post("/api/hits/")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "counter" in refused.json()["detail"]
        assert {user.find(upload)["status"] for upload in made} == {"queued"}
    # Four uploads on two servers with two workers: each waits at most once.
    assert took < 30

    for upload in made:
        user.wait_until_done(upload, seconds=REDELIVERY_SECONDS)
    eventually(
        lambda: set(components(production).values()) == {"up"},
        seconds=60,
        what="all components are up",
    )


def test_full_redis_refuses_only_writes(production: Stack, user: Uploader) -> None:
    """Tasks of the uploads are sent later; meanwhile only writes to Redis fail."""

    def limit(memory: str) -> None:
        administrator = "REDISCLI_AUTH=$(cat /data/administrator) redis-cli --user administrator "
        # The administrator may change accounts, including its own.
        acl = f"{administrator} acl setuser administrator '+config|set'"
        command = f"{acl} && {administrator} config set maxmemory {memory}"
        assert production.run_in("redis", "sh", "-c", command).split() == ["OK", "OK"]

    try:
        limit("1")
        made = [user.upload()["id"] for _ in range(6)]
        # Reads succeed on both servers after a refused write.
        reads = [production.get("/api/hits/").status_code for _ in range(6)]
        assert reads == [200] * 6
    finally:
        limit("256mb")
    for upload in made:
        user.wait_until_done(upload, seconds=REDELIVERY_SECONDS)


def test_killed_worker_loses_no_task(user: Uploader) -> None:
    check_killed_worker_loses_no_task(user)


def test_stopping_worker_finishes_its_task(production: Stack, user: Uploader) -> None:
    made = user.upload(make_slow_image())["id"]
    eventually(lambda: user.find(made)["status"] != "queued", seconds=30, what="the task runs")

    production.stop("worker")

    assert user.find(made)["status"] == "done"
    assert production.inspect("worker", "{{.State.ExitCode}}") == "0"
    production.compose("up", "--detach", "--wait", "--no-deps", "worker")


def test_concurrent_visits_count_once_over_both_servers(production: Stack) -> None:
    before = production.get("/api/hits/").json()["hits"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: production.post("/api/hits/").json(), range(VISITS)))

    assert sorted(one["hits"] for one in answers) == list(range(before + 1, before + VISITS + 1))
    assert {one["server"] for one in answers} == {"set1", "set2"}


def test_application_uses_no_command_that_redis_refuses(production: Stack, user: Uploader) -> None:
    user.wait_until_done(user.upload()["id"], seconds=30)

    assert "NOPERM" not in production.logs("worker")
    assert "NOPERM" not in production.logs("server1") + production.logs("server2")
