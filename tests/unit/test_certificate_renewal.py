"""docs/tls.md's renewal: its commands as systemd runs them, docker and stackctl played."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.unit.config_files import mounts, services

# What certbot's container sees of this machine's folder.
INSIDE, OUTSIDE = "/etc/letsencrypt", "certs/letsencrypt"
# `due` is there when a certificate is to be renewed. The last argument is the hook, or what is
# to be removed.
DOCKER = f"""#!/bin/sh
for last; do :; done
last=$(printf %s "$last" | sed 's|{INSIDE}|{OUTSIDE}|')
case "$*" in
*"certbot renew "*) [ ! -e due ] || {{ rm due; sh -c "$last"; }} ;;
*"--entrypoint rm certbot "*) rm "$last" ;;
*) exit 9 ;;
esac
"""
STACKCTL = """#!/bin/sh
echo "$*" >>asked
[ ! -e broken ]
"""


def commands() -> list[list[str]]:
    """Return the commands of the page's service, word by word."""
    text = (ROOT / "docs" / "tls.md").read_text()
    return [shlex.split(line) for line in re.findall(r"^    ExecStart=(.+)$", text, re.M)]


class Machine:
    """A folder in the clone's place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / OUTSIDE).mkdir(parents=True)
        for name, text in (("docker", DOCKER), ("stackctl", STACKCTL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def is_due(self) -> None:
        (self.folder / "due").touch()

    def renew(self) -> bool:
        """Run the service: each command, up to one that fails; tell whether all went well."""
        path = f"{self.folder}:{os.environ['PATH']}"
        return all(
            subprocess.run(
                [first.replace("/usr/bin/docker", str(self.folder / "docker")), *rest],
                cwd=self.folder,
                env={**os.environ, "PATH": path},
                check=False,
            ).returncode
            == 0
            for first, *rest in commands()
        )

    def reloads(self) -> int:
        asked = self.folder / "asked"
        return asked.read_text().splitlines().count("reload") if asked.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_reloaded_where_nothing_was_renewed(machine: Machine) -> None:
    """A reload cuts what takes longer than a minute."""
    assert machine.renew()
    assert machine.reloads() == 0


def test_a_renewal_is_followed_by_one_reload(machine: Machine) -> None:
    machine.is_due()

    assert machine.renew() and machine.renew()

    assert machine.reloads() == 1


def test_a_reload_that_failed_is_tried_again(machine: Machine) -> None:
    machine.is_due()
    (machine.folder / "broken").touch()
    assert not machine.renew()
    (machine.folder / "broken").unlink()

    assert machine.renew() and machine.renew()

    assert machine.reloads() == 2


def test_certbot_s_folder_is_where_the_service_looks() -> None:
    assert mounts(services()["certbot"])[str(INSIDE)] == str(OUTSIDE)
