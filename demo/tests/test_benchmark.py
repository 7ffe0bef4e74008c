"""The thumbnail figures of `make bench`."""

from benchmarks.thumbnails import Thumbnails


def test_thumbnail_rate_is_reported_per_process() -> None:
    thumbnails = Thumbnails(jobs=100, done=80, seconds=10.0, processes=2, image_bytes=2_000_000)

    assert thumbnails.lost == 20
    assert "4.0 thumbnails a second in each of 2 processes (80 of 100" in thumbnails.as_text()


def test_thumbnail_rate_is_zero_when_no_task_finished() -> None:
    assert Thumbnails(jobs=1, done=0, seconds=0, processes=2, image_bytes=1).per_second == 0
