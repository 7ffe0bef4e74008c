"""What stackctl says of a stack and its machine; servers out of service and back by hand."""

import subprocess
import sys

from tests.stack.compose import docker
from tests.stack.stackctl.site import PROJECT, QUICK, Site, git, visitors


def test_up_has_started_the_release_that_git_names(site: Site) -> None:
    site.whole_on(git(site.tree, "rev-parse", "--short=12", "HEAD"))

    before = site.containers()
    site.ctl("up")
    assert site.containers() == before
    assert "ready" in site.ctl("status")
    assert site.ask("doctor")["code"] == 0


def test_a_port_that_another_holds_is_named_and_nothing_is_started(site: Site) -> None:
    other = {**site.environment, "COMPOSE_PROJECT_NAME": f"{PROJECT}-other"}
    refused = subprocess.run(
        [sys.executable, "-m", "stackctl_cli", "up"],
        cwd=site.tree,
        env=other,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert f"port {site.http_port} is taken by the container {PROJECT}-haproxy-1" in refused.stderr
    assert f"HTTP_PORT={site.http_port + 1} ./stackctl up" in refused.stderr
    assert f"port {site.stats_port} is taken" in refused.stderr
    assert not docker("ps", "--all", "--quiet", "--filter", f"name={PROJECT}-other")


def test_drain_and_ready(site: Site) -> None:
    with visitors(site):
        assert site.ask("drain", "server1")["state"] == "drained"
        assert site.in_service() == {"set2"}

        refused = site.ctl("drain", "server2", code=1)
        assert "last server in service" in refused
        refused = site.ctl("deploy", *QUICK, "--force", code=1)
        assert "server1 is drained" in refused and "./stackctl ready server1" in refused
        assert site.states() == {"server1": "drained", "server2": "ready"}

        assert site.ask("ready", "server1")["state"] == "ready"
    assert site.in_service() == {"set1", "set2"}
    assert "server1, server2" in site.ctl("drain", "server3", code=2)
