"""`stackctl setup` of an empty Debian: a container with sshd, its own network and no systemd."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests import sshd
from tests.program import Ended, run_stackctl
from tests.stack.compose import STACK_NAME
from tests.waiting import eventually
from tools.stackctl.over_ssh import setup

IMAGE = f"{STACK_NAME}-empty-server"
# The packages are installed, so that the test needs no mirror each time; Docker is a script.
DOCKERFILE = """FROM debian:trixie-slim
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends \\
    ca-certificates curl git iproute2 make nftables openssh-server python3 python3-venv \\
    unattended-upgrades
RUN printf '#!/bin/sh\\n' >/usr/local/bin/docker && chmod +x /usr/local/bin/docker \\
    && mkdir -p /run/sshd /root/.ssh \\
    && rm -f /etc/ssh/ssh_host_* /etc/apt/apt.conf.d/20auto-upgrades \\
    && useradd --create-home --shell /bin/sh guest && mkdir /home/guest/.ssh
CMD ["/usr/sbin/sshd", "-D", "-e"]
"""
# A visitor's network, and an app in a bridge network whose port is published as Docker does it.
NETWORK = """
ip netns add visitor
ip link add v0 type veth peer name eth0 netns visitor
ip addr add 192.0.2.1/24 dev v0 && ip link set v0 up
ip -n visitor addr add 192.0.2.2/24 dev eth0 && ip -n visitor link set eth0 up
ip -n visitor route add default via 192.0.2.1
ip netns add app
ip link add br-app type bridge && ip addr add 10.9.0.1/24 dev br-app && ip link set br-app up
ip link add a0 type veth peer name eth0 netns app
ip link set a0 master br-app && ip link set a0 up
ip -n app addr add 10.9.0.2/24 dev eth0 && ip -n app link set eth0 up && ip -n app link set lo up
ip -n app route add default via 10.9.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip nat {
    chain PREROUTING {
        type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport { 80, 8080 } dnat to 10.9.0.2:8000
    }
}
END
ip netns exec app python3 -m http.server 8000 --directory /srv >/dev/null 2>&1 &
ip netns exec visitor python3 -m http.server 8000 --directory /srv >/dev/null 2>&1 &
python3 -m http.server 9000 --directory /srv >/dev/null 2>&1 &
"""


@dataclass
class Machine:
    """The container, and the commands of a person who may log in."""

    container: str
    folder: Path
    run: Callable[..., Ended]

    def __call__(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return subprocess.run(
            ["docker", "exec", "-i", self.container, *command],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def reaches(self, address: str, network: str = "visitor") -> bool:
        """Return whether an address answers in a network."""
        get = ("curl", "--silent", "--output", "/dev/null", "--max-time", "2", f"http://{address}/")
        return self("ip", "netns", "exec", network, *get).returncode == 0

    def files(self) -> str:
        """Return all that a setup may change, with its content's checksum."""
        return self(
            "sh",
            "-c",
            "find /etc /srv /home /root -type f ! -path '*/.git/*' | sort | xargs sha256sum; "
            "nft list ruleset; id mysite",
        ).stdout


def docker(*arguments: str, stdin: str = "") -> str:
    """Run the docker client."""
    return subprocess.run(
        ["docker", *arguments], input=stdin, check=True, capture_output=True, text=True, timeout=600
    ).stdout.strip()


@pytest.fixture
def machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    remove_test_images: None,
) -> Iterator[Machine]:
    """Start an empty machine that accepts a key of the test for root and for a guest."""
    docker("build", "--tag", IMAGE, "-", stdin=DOCKERFILE)
    sshd.make_keys(tmp_path)
    container = docker("create", "--privileged", "--publish", "127.0.0.1::22", IMAGE)

    machine = Machine(container, tmp_path, partial(run_stackctl, capfd))
    try:
        docker("cp", f"{tmp_path}/host", f"{container}:/etc/ssh/ssh_host_ed25519_key")
        docker("start", container)
        key = (tmp_path / "user.pub").read_text()
        for home in ("/root", "/home/guest"):
            machine("tee", f"{home}/.ssh/authorized_keys", stdin=key)
        port = int(docker("port", container, "22").rpartition(":")[2])
        sshd.introduce(tmp_path, port)
        sshd.configure_client(tmp_path, port, "root")
        monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {tmp_path}/client")
        eventually(lambda: sshd.listens(port), seconds=30, what="sshd listens")
        yield machine
    finally:
        docker("rm", "--force", "--volumes", container)


def test_setup_shows_its_changes_then_makes_them_once(machine: Machine) -> None:
    before = machine.files()
    dry = machine.run("setup", "server", "--dry-run")
    assert dry.code == 0 and "+ user mysite: create" in dry.err
    asked = machine.run("setup", "server")
    assert asked.code == 1 and "Add --yes" in asked.err
    assert machine.files() == before

    done = machine.run("setup", "server", "--yes", "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["changes"]) >= 8
    assert "./stackctl --host mysite@server env init" in done.err
    after = machine.files()
    assert after != before and "table inet mysite" in after and "(docker)" in after

    again = machine.run("setup", "server", "--yes", "--json")
    assert (again.code, json.loads(again.out)["changes"]) == (0, [])
    # Also where the plan is not asked first.
    script = Path(setup.SCRIPT).read_text()
    assert machine("sh", "-s", "--", "apply", stdin=script).returncode == 0
    assert machine.files() == after


def test_user_of_the_setup_may_log_in_and_owns_an_empty_clone(machine: Machine) -> None:
    machine.run("setup", "server:/srv/shop", "--user", "shop", "--yes")

    client = ["ssh", "-F", f"{machine.folder}/client", "shop@server"]
    script = "git -C /srv/shop status --short --branch && touch /srv/shop/.env"
    done = subprocess.run([*client, script], check=True, capture_output=True, text=True)

    assert "No commits yet on main" in done.stdout


def test_user_who_may_not_become_root_gets_the_commands_for_it(machine: Machine) -> None:
    ended = machine.run("setup", "guest@server")

    assert ended.code == 1 and "setup.sh guest@server:" in ended.err
    assert "sudo sh setup.sh apply --user mysite" in ended.err


def test_firewall_covers_published_ports_of_docker(machine: Machine) -> None:
    assert machine("sh", "-e", stdin=NETWORK).returncode == 0
    eventually(lambda: machine.reaches("192.0.2.1"), seconds=30, what="the site answers")
    # Without the firewall all of them answer.
    assert machine.reaches("192.0.2.1:8080") and machine.reaches("192.0.2.1:9000")

    machine.run("setup", "server", "--yes")

    assert machine.reaches("192.0.2.1")
    assert not machine.reaches("192.0.2.1:8080")
    assert not machine.reaches("192.0.2.1:9000")
    # Neither by the container's own address; the container reaches others, and SSH keeps working.
    assert not machine.reaches("10.9.0.2:8000")
    assert machine.reaches("192.0.2.2:8000", network="app")
    assert machine.run("setup", "server", "--dry-run").code == 0
