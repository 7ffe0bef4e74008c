"""Certificate renewal: the systemd commands of docs/tls.md, with fake docker and stackctl."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.unit.config_files import mounts, services

# The folder in certbot's container, and on this machine.
INSIDE, OUTSIDE = "/etc/letsencrypt", "certs/letsencrypt"
# `due` exists when a certificate is due for renewal. The last argument is the hook, or the file to
# remove.
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
    """Return the commands of the service in docs/tls.md, split into words."""
    text = (ROOT / "docs" / "tls.md").read_text()
    return [shlex.split(line) for line in re.findall(r"^    ExecStart=(.+)$", text, re.M)]


class Machine:
    """A folder that replaces the clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / OUTSIDE).mkdir(parents=True)
        for name, text in (("docker", DOCKER), ("stackctl", STACKCTL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def is_due(self) -> None:
        (self.folder / "due").touch()

    def renew(self) -> bool:
        """Run the commands of the service until one fails; return whether all succeeded."""
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
        calls = self.folder / "asked"
        return calls.read_text().splitlines().count("reload") if calls.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_renewal_service_does_not_reload_without_a_renewed_certificate(machine: Machine) -> None:
    """A reload closes connections that last longer than a minute."""
    assert machine.renew()
    assert machine.reloads() == 0


def test_renewed_certificate_is_followed_by_one_reload(machine: Machine) -> None:
    machine.is_due()

    assert machine.renew() and machine.renew()

    assert machine.reloads() == 1


def test_failed_reload_after_a_renewal_is_retried(machine: Machine) -> None:
    machine.is_due()
    (machine.folder / "broken").touch()
    assert not machine.renew()
    (machine.folder / "broken").unlink()

    assert machine.renew() and machine.renew()

    assert machine.reloads() == 2


def test_certbot_folder_is_mounted_where_the_renewal_service_expects_it() -> None:
    assert mounts(services()["certbot"])[str(INSIDE)] == str(OUTSIDE)
