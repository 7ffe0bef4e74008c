"""Places for backups on this machine: a server with the S3 API, and an SSH server."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from tests.ports import free_port
from tests.waiting import eventually

BUCKET = "backups"
KEYS = {"BACKUP_S3_ACCESS_KEY_ID": "backup-key", "BACKUP_S3_SECRET_ACCESS_KEY": "backup-secret"}
SSHD = "/usr/sbin/sshd"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server with a bucket on 127.0.0.1; yield the variables of a place in it."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    program = Path(sys.executable).with_name("moto_server")
    command = [str(program), "--host", "127.0.0.1", "--port", endpoint.rpartition(":")[2]]
    with _server(folder / "s3.log", command, "Running on"):
        s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        s3.create_bucket(Bucket=BUCKET)
        yield {"BACKUP_TO": f"s3:{endpoint}/{BUCKET}/mysite", **KEYS}


@contextmanager
def sftp_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run OpenSSH's server on 127.0.0.1; yield the variables of a place in a folder of it."""
    if not Path(SSHD).exists() and not os.environ.get("REQUIRE_STACK_TESTS"):
        pytest.skip("openssh-server is not installed")
    # Debian's sshd needs it; its service creates it.
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    for key in ("host", "user"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(keygen, check=True)
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    host_key = (folder / "host.pub").read_text().split()[:2]
    user = os.environ.get("USER") or "root"
    with _server(folder / "sshd.log", [SSHD, "-D", "-e", "-f", configuration], "listening on"):
        yield {
            # Two slashes: from the root of its file system.
            "BACKUP_TO": f"sftp://{user}@127.0.0.1:{port}/{folder}/repository",
            "BACKUP_SSH_KEY_FILE": str(folder / "user"),
            "BACKUP_SSH_HOST_KEY": f"[127.0.0.1]:{port} {' '.join(host_key)}",
        }


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of a few megabytes."""
    folder.mkdir()
    size = f"size={megabytes}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False
    ).returncode
    if mounted and not os.environ.get("REQUIRE_STACK_TESTS"):
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def _server(log: Path, command: Sequence[str | Path], ready: str) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: ready in log.read_text(), seconds=60, what=f"{command[0]} answers")
        yield
    finally:
        process.terminate()
        process.wait(10)
