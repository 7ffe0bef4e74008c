"""stackctl up, doctor, status, drain, ready and heal."""

import re
import subprocess
import sys

import pytest

from tests.stack.compose import docker
from tests.stack.stackctl.site import ANY, PROJECT, QUICK, Site, git, visitors
from tests.waiting import eventually
from tools.stackctl.balancer import haproxy
from tools.stackctl.common.faults import StackctlError


def test_up_starts_the_release_of_the_git_commit(site: Site) -> None:
    site.assert_both_run(git(site.tree, "rev-parse", "--short=12", "HEAD"))

    before = site.containers()
    site.ctl("up")
    assert site.containers() == before
    assert "ready" in site.ctl("status")
    assert site.ask("doctor")["code"] == 0


def test_up_does_not_recreate_a_running_haproxy(site: Site) -> None:
    """Recreating it would fail requests, even when one of its variables has changed."""
    before = site.container("haproxy")
    site.environment["HAPROXY_BALANCE"] = "leastconn"
    try:
        with visitors(site):
            output = site.ctl("up")
    finally:
        del site.environment["HAPROXY_BALANCE"]

    assert "docker compose up --detach --no-deps haproxy applies the new one" in output
    assert site.container("haproxy") == before


def test_doctor_and_status_name_problems_and_their_next_steps_fix_them(site: Site) -> None:
    site.stop("worker")
    site.compose("pause", "redis")
    docker("network", "disconnect", f"{PROJECT}_front", site.container("server2"))
    site.environment["DB_CONN_MAX_AGE"] = "61"
    try:
        results = [
            {row["name"]: row for row in site.ask(command, code=1)[key]}
            for command, key in (("doctor", "checks"), ("status", "parts"))
        ]
        table = site.ctl("status", code=1)
    finally:
        del site.environment["DB_CONN_MAX_AGE"]

    for rows in results:
        assert rows["worker"]["problem"].startswith("it is stopped: exit code 0")
        assert rows["redis"]["problem"] == "it is paused"
        assert rows["server2"]["problem"] == f"it is not connected to the network {PROJECT}_front"
        assert rows["server1"]["problem"].endswith("what has changed: DB_CONN_MAX_AGE")
        assert "./stackctl apply" in rows["server1"]["next"]
        assert rows["haproxy"]["ok"] and rows["db"]["ok"]
        assert all(rows[name]["next"] in table for name in ("worker", "redis", "server2"))
    for name in ("redis", "server2", "worker"):
        subprocess.run(
            [sys.executable, "-m", "tools.stackctl", "up"]
            if (step := results[0][name]["next"]) == "./stackctl up"
            else step.split(),
            cwd=site.tree,
            env=site.environment,
            check=True,
        )
    eventually(
        lambda: site.ask("status", code=ANY)["code"] == 0,
        seconds=60,
        what="status reports no problem",
    )
    assert site.ask("doctor")["code"] == 0


def test_commands_to_a_hanging_haproxy_time_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "ANSWER_SECONDS", 1)
    balancer = haproxy.Balancer(site.container("haproxy"))
    worker = str(balancer.workers().present)

    site.run_in("haproxy", "sh", "-c", f"kill -STOP {worker}")
    try:
        with pytest.raises(StackctlError, match="no answer within 1 s"):
            balancer.servers()
    finally:
        site.run_in("haproxy", "sh", "-c", f"kill -CONT {worker}")
    site.wait_for_both()


def test_up_refuses_a_port_in_use_and_starts_nothing(site: Site) -> None:
    other = {**site.environment, "COMPOSE_PROJECT_NAME": f"{PROJECT}-other"}
    refused = subprocess.run(
        [sys.executable, "-m", "tools.stackctl", "up"],
        cwd=site.tree,
        env=other,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert f"port {site.http_port} is in use by the container {PROJECT}-haproxy-1" in refused.stderr
    (free,) = re.findall(r"HTTP_PORT=(\d+) ./stackctl up", refused.stderr)
    assert int(free) > site.http_port
    assert f"port {site.stats_port} is in use" in refused.stderr
    assert not docker("ps", "--all", "--quiet", "--filter", f"name={PROJECT}-other")


def test_drain_takes_a_server_out_of_service_until_ready(site: Site) -> None:
    with visitors(site):
        assert site.ask("drain", "server1")["state"] == "drained"
        assert site.in_service() == {"set2"}

        refused = site.ctl("drain", "server2", code=1)
        assert "last server in service" in refused
        refused = site.ctl("deploy", *QUICK, "--force", code=1)
        assert "server1 is drained" in refused and "./stackctl ready server1" in refused
        assert site.states() == {"server1": "drained", "server2": "ready"}

        # HAProxy shows a killed server as DOWN, whether it was drained or not.
        drained = site.container("server1")
        docker("kill", drained)
        left_alone = site.ask("heal")["left_alone"]
        assert left_alone["server1"].endswith("but it was drained by hand")
        docker("start", drained)

        eventually(
            lambda: site.ask("ready", "server1")["state"] == "ready",
            seconds=180,
            what="server1 is ready again",
        )
    assert site.in_service() == {"set1", "set2"}
    assert "server1, server2" in site.ctl("drain", "server3", code=2)
