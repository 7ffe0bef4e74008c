"""Uploads while worker and broker are killed; costly images; concurrent visits."""

from concurrent.futures import ThreadPoolExecutor

from demo.tests.images import make_costly_jpeg
from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import ClosedLoop, Load, Request
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.stack.uploads import Uploader, check_uploads_survive_kills, states
from tests.waiting import eventually

UPLOADS = 1000
VISITS = 10_000
VISITORS = 16
COSTLY = 8
# A lost task is sent again after its lease of 30 s; the rest is for the thumbnails.
DONE_SECONDS = 300


def test_uploads_survive_a_killed_worker_and_redis(loaded: Stack, figures: Figures) -> None:
    user = Uploader(loaded)
    result = check_uploads_survive_kills(
        user, UPLOADS, VISITORS, {"worker": 0.3, "redis": 0.6}, seconds=DONE_SECONDS
    )

    figures.note(
        f"{UPLOADS:,} uploads by {VISITORS} visitors; worker, then Redis killed",
        "every 201 ends as done, none lost, one thumbnail each",
        requests=UPLOADS,
        failed=UPLOADS - result.codes[201],
        longest=result.longest,
        seen=f"accepted in {result.sending:.0f} s, all done {result.doing:.0f} s later",
    )
    assert result.codes == {201: UPLOADS}
    assert len(states(user)) == UPLOADS


def test_costly_images_fail_without_failed_requests(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    user = Uploader(loaded)
    content = make_costly_jpeg()
    with load:
        load.warm_up()
        with ThreadPoolExecutor(COSTLY) as pool:
            answers = list(pool.map(lambda _: user.send(content), range(COSTLY)))
        eventually(
            lambda: set(states(user).values()) == {"failed"},
            seconds=DONE_SECONDS,
            what="every upload has failed",
        )
        load.wait_until_all_are_served()

    figures.add(
        f"{COSTLY} uploads at once of a JPEG of 277 kB that takes a minute to decode",
        "0 failed; each is accepted, and failed after 8 s of processor time, at its first attempt",
        load,
    )
    assert [answer.status_code for answer in answers] == [201] * COSTLY
    assert set(user.attempts().values()) == {1}
    check_nothing_lost(load, loaded)


def test_concurrent_visits_are_counted_exactly(loaded: Stack, figures: Figures) -> None:
    before = loaded.get("/api/hits/").json()["hits"]
    count = Request("POST", "/api/hits/")
    clients = [ClosedLoop(iter([count] * (VISITS // VISITORS))) for _ in range(VISITORS)]
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
