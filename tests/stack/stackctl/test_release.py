"""A release in all its states; tests/chaos/test_deploy.py has the load and the bad releases."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from tests.stack.stackctl.site import QUICK, Site, ended, visitors
from tests.waiting import eventually

SERVERS_ON_THE_WAY = ("starting", "healthy", "failed", "stopped")


@contextmanager
def log_of(container: str) -> Iterator[list[str]]:
    """Follow a container's log to its end, which the block has to bring about."""
    lines: list[str] = []
    with TemporaryFile("w+") as file:
        follower = subprocess.Popen(
            ["docker", "logs", "--follow", "--tail", "0", container], stdout=file, stderr=file
        )
        try:
            yield lines
            follower.wait(30)
            file.seek(0)
            lines += file.read().splitlines()
        finally:
            follower.kill()


def interrupt_a_deploy(site: Site) -> str:
    """Press Ctrl-C while the first server is replaced, and return what was said."""
    deploy = site.start("deploy", *QUICK)
    eventually(
        lambda: site.states()["server1"] in SERVERS_ON_THE_WAY,
        seconds=60,
        what="server1 is on its way",
    )
    deploy.send_signal(signal.SIGINT)
    return ended(deploy, 130)


def test_a_release_interrupted_taken_up_again_and_rolled_back(site: Site) -> None:
    """Ctrl-C ends it where both servers serve; the next deploy does what is left, and no more."""
    old = site.release()
    with (
        site.edited("api/profile.py", '"""What this', '"""Again: what this') as new,
        visitors(site),
    ):
        said = interrupt_a_deploy(site)
        assert f"server1 runs {new}, server2 runs {old}" in said
        assert "runs with another configuration" not in said
        assert site.states() == {"server1": "ready", "server2": "ready"}
        site.wait_for_both()

        done, left = site.containers()
        with log_of(left) as log:
            result = site.ask("deploy", *QUICK)
        assert result["servers"] == {"server1": new, "server2": new}
        site.whole_on(new)
        assert site.container("server1") == done
        # What stackctl has drained does not drain once more.
        assert any("drained before; stopping at once" in line for line in log)

        check_nothing_is_left_to_do(site)

        # What is down already is no fault of a release, which may be its cure.
        site.compose("stop", "worker")
        eventually(
            lambda: site.get("/healthz").json()["components"]["worker"]["status"] == "down",
            seconds=60,
            what="the worker is down",
        )
        assert site.ask("rollback", *QUICK)["release"] == old
        site.whole_on(old)
        assert site.get("/healthz").status_code == 200
    check_the_record(site, old, new)
    assert "nosuch" in site.ctl("rollback", "nosuch", code=2)


def check_nothing_is_left_to_do(site: Site) -> None:
    """Compose keeps to the release, and a further deploy finds nothing to do, unless forced."""
    before = site.containers()
    site.compose("up", "--detach", "--no-build")
    assert site.ask("deploy", *QUICK)["changed"] is False
    assert site.containers() == before
    assert site.ask("deploy", *QUICK, "--force")["changed"] is True
    assert not set(site.containers()) & set(before)


def check_the_record(site: Site, old: str, new: str) -> None:
    """The attempts are there, the latest first."""
    record = site.ask("releases")
    assert record["running"] == [old]
    attempts = [r for r in record["releases"] if r["action"] != "found"]
    assert [(r["action"], r["release"], r["outcome"]) for r in attempts[:4]] == [
        ("rollback", old, "ok"),
        ("deploy", new, "ok"),
        ("deploy", new, "ok"),
        ("deploy", new, "interrupted"),
    ]
