"""Interrupted, resumed and rolled back releases. Bad releases: tests/chaos/test_deploy.py."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from tests.stack.stackctl.site import ANY, QUICK, Site, visitors, wait_for_exit
from tests.waiting import eventually

FORGET_WORKERS = """
import django
django.setup()
from ops.models import WorkerBeat
WorkerBeat.objects.all().delete()
"""


@contextmanager
def followed_log(container: str) -> Iterator[list[str]]:
    """Follow the log of a container, which the block must stop."""
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


def start_deploy_of_server1(site: Site, old: str) -> "subprocess.Popen[str]":
    """Start a deploy, and return it while it watches the new server1, before server2 follows."""
    deploy = site.start("deploy", "--watch-seconds", "20")
    eventually(
        lambda: site.profile()["release"] != old,
        seconds=180,  # includes the build of the image
        what="the new server1 has requests",
    )
    return deploy


def interrupt_a_deploy(site: Site, old: str) -> str:
    """Press Ctrl-C while the new server1 is watched, and return the output."""
    deploy = start_deploy_of_server1(site, old)
    deploy.send_signal(signal.SIGINT)
    return wait_for_exit(deploy, 130)


def check_rollback_after_a_kill(site: Site, old: str) -> None:
    """Kill a deploy while both server1's containers run, and roll back to the previous release."""
    deploy = start_deploy_of_server1(site, old)
    deploy.kill()
    deploy.communicate(timeout=60)
    eventually(
        lambda: not site.ask("status", code=ANY)["busy"], seconds=120, what="the lock is free"
    )

    output = site.ctl("rollback", *QUICK)

    assert "was interrupted" in output and f"back to {old}" in output
    assert f"{site.project}-server1-1: removed; an interrupted deploy had left it" in output
    site.assert_both_run(old)


def test_interrupted_deploy_is_resumed_and_rolled_back_without_failed_requests(site: Site) -> None:
    """After Ctrl-C both servers serve, and the next deploy replaces only the other server."""
    old = site.release()
    with (
        site.edited("ops/profile.py", '"""What this', '"""Again: what this') as new,
        visitors(site),
    ):
        check_rollback_after_a_kill(site, old)
        output = interrupt_a_deploy(site, old)
        assert f"server1 runs {new}, server2 runs {old}" in output
        assert "runs with an outdated configuration" not in output
        assert site.states() == {"server1": "ready", "server2": "ready"}
        site.wait_for_both()

        done, left = site.containers()
        with followed_log(left) as log:
            result = site.ask("deploy", *QUICK)
        assert result["servers"] == {"server1": new, "server2": new}
        site.assert_both_run(new)
        assert site.container("server1") == done
        # A server that stackctl has drained does not drain a second time.
        # The last lines may be missing: the container is removed as soon as it has stopped.
        assert not any("readyz answers 404; stopping in" in line for line in log)

        check_nothing_is_left_to_do(site)

        # A component that is down before does not fail a release, which may fix it.
        site.stop("worker")
        # Otherwise the worker would count as up for STALE_SECONDS.
        site.python_in("server1", FORGET_WORKERS)
        eventually(
            lambda: site.get("/healthz").json()["components"]["worker"]["status"] == "down",
            seconds=60,
            what="the worker is down",
        )
        assert site.ask("rollback", *QUICK)["release"] == old
        site.assert_both_run(old)
        assert site.get("/healthz").status_code == 200
    check_the_record(site, old, new)
    assert "nosuch" in site.ctl("rollback", "nosuch", code=2)


def check_nothing_is_left_to_do(site: Site) -> None:
    """Assert that `docker compose up` and another deploy change nothing."""
    before = site.containers()
    site.compose("up", "--detach", "--no-build")
    assert site.ask("deploy", *QUICK)["changed"] is False
    assert site.containers() == before


def check_the_record(site: Site, old: str, new: str) -> None:
    """Assert that the record lists the attempts, latest first."""
    record = site.ask("releases")
    assert record["running"] == [old]
    attempts = [r for r in record["releases"] if r["action"] != "compose"]
    assert [(r["action"], r["release"], r["outcome"]) for r in attempts[:3]] == [
        ("rollback", old, "ok"),
        ("deploy", new, "ok"),
        ("deploy", new, "interrupted"),
    ]
