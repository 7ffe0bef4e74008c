"""What `make bench` says of the worker."""

from benchmarks.thumbnails import Thumbnails


def test_the_workers_rate_is_that_of_one_process() -> None:
    thumbnails = Thumbnails(jobs=100, done=80, seconds=10.0, processes=2, picture_bytes=2_000_000)

    assert thumbnails.lost == 20
    assert "4.0 thumbnails a second in each of 2 processes (80 of 100" in thumbnails.as_text()


def test_a_worker_that_did_nothing_has_no_rate() -> None:
    assert Thumbnails(jobs=1, done=0, seconds=0, processes=2, picture_bytes=1).per_second == 0
