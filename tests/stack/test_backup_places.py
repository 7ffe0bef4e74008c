"""Places for backups that fail: each error says what, where and the next step."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.places import s3_server, sftp_server, small_disk
from tests.ports import free_port
from tests.stack.compose import STACK_NAME, docker
from tests.waiting import eventually
from tools.stackctl.commands import remote_backup
from tools.stackctl.commands.remote_backup import forget, snapshots, upload
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError, UsageError
from tools.stackctl.docker.compose import Project
from tools.stackctl.remote import place as places
from tools.stackctl.remote import restic as restics
from tools.stackctl.remote.restic import Restic

NAME = f"{STACK_NAME}-places"
VOLUMES = ("media", "private")
PROJECT = Project(
    NAME,
    "local",
    {
        "services": {
            "server1": {
                "image": NAME,
                "volumes": [
                    {"type": "volume", "source": name, "target": f"/srv/{name}"} for name in VOLUMES
                ],
            }
        },
        "volumes": {name: {"name": f"{NAME}_{name}"} for name in VOLUMES},
    },
)
PASSWORD = "a password"


@pytest.fixture(scope="module", autouse=True)
def volumes() -> Iterator[None]:
    """Create the volumes of a stack that has a file; remove them with the image of restic."""
    write = "echo kept >/srv/media/file"
    volume = f"{NAME}_media:/srv/media"
    docker("run", "--rm", "--volume", volume, "debian:trixie-slim", "sh", "-c", write)
    docker("volume", "create", f"{NAME}_private")
    try:
        yield
    finally:
        for name in (*VOLUMES, "backup-cache"):
            docker("volume", "rm", "--force", f"{NAME}_{name}")
        if images := docker("image", "ls", "--quiet", f"{NAME}-backup").split():
            docker("image", "rm", "--force", *set(images))


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Return a folder with a dump."""
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "database.sql").write_text("CREATE TABLE a (b INT);\n" * 1000)
    subprocess.run(["gzip", str(folder / "database.sql")], check=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def opened(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, create: bool = False
) -> Restic:
    """Return the place that these variables name, opened."""
    for name, text in {"BACKUP_PASSWORD": PASSWORD, **variables}.items():
        monkeypatch.setenv(name, text)
    place = places.read()
    assert place is not None
    restic = Restic(PROJECT, place)
    restic.build()
    restic.open(create=create)
    return restic


def names(restic: Restic) -> list[str]:
    return [one.name for one in snapshots(restic)]


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run an SSH server."""
    with sftp_server(tmp_path) as variables:
        yield variables


def test_wrong_password_and_wrong_keys_are_named(
    monkeypatch: pytest.MonkeyPatch, sftp: dict[str, str], tmp_path: Path
) -> None:
    opened(monkeypatch, sftp, create=True)

    with pytest.raises(StackctlError, match="BACKUP_PASSWORD is not the password") as raised:
        opened(monkeypatch, {**sftp, "BACKUP_PASSWORD": "another secret"})
    assert "they cannot be read without it" in raised.value.hint
    assert "another secret" not in f"{raised.value.problem}{raised.value.hint}"
    with pytest.raises(StackctlError, match="refuses the key in BACKUP_SSH_KEY"):
        opened(monkeypatch, {**sftp, "BACKUP_SSH_KEY_FILE": str(tmp_path / "host")})
    other = sftp["BACKUP_SSH_HOST_KEY"].split()[0]
    user_key = (tmp_path / "user.pub").read_text().split()[:2]
    with pytest.raises(StackctlError, match="another host key than BACKUP_SSH_HOST_KEY"):
        opened(monkeypatch, {**sftp, "BACKUP_SSH_HOST_KEY": f"{other} {' '.join(user_key)}"})


def test_place_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, sftp: dict[str, str]
) -> None:
    monkeypatch.setattr(restics, "OPEN_SECONDS", 4)
    closed = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("BACKUP_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("BACKUP_S3_SECRET_ACCESS_KEY", "secret")

    with pytest.raises(StackctlError, match=r"does not answer within 4 s: .*refused") as raised:
        opened(monkeypatch, {"BACKUP_TO": f"s3:http://{closed}/backups/mysite"})
    assert closed in raised.value.problem and "network" in raised.value.hint
    with pytest.raises(StackctlError, match=f"sftp://root@{closed}/x: .*refused"):
        opened(monkeypatch, {**sftp, "BACKUP_TO": f"sftp://root@{closed}/x"})


def test_place_without_backups_is_not_taken_for_the_former_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with an empty disk where another one was mounted."""
    with s3_server(tmp_path) as s3, pytest.raises(StackctlError, match="there are no backups in"):
        opened(monkeypatch, s3)
    with pytest.raises(StackctlError, match="there is no folder /mnt/missing"):
        opened(monkeypatch, {"BACKUP_TO": "/mnt/missing"}, create=True)
    with pytest.raises(UsageError, match="is no place for backups"):
        places.read("ftp://somewhere")


def test_full_disk_keeps_the_last_good_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dump: Path
) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        restic = opened(monkeypatch, {"BACKUP_TO": str(disk)}, create=True)
        upload(restic, "20300101T000000Z", dump)
        large = tmp_path / "dump" / "extras.sql"
        large.write_bytes(os.urandom(8_000_000))
        subprocess.run(["gzip", str(large)], check=True)

        with pytest.raises(StackctlError, match="no space is left") as raised:
            upload(restic, "20300102T000000Z", dump)

        assert "Free space" in raised.value.hint and str(disk) in raised.value.hint
        assert names(restic) == ["20300101T000000Z"]


def saved_slowly(restic: Restic, dump: Path) -> tuple[list[process.Result], Thread]:
    """Start a backup that takes minutes, and wait until it has locked the place."""
    (dump / "large").write_bytes(os.urandom(8_000_000))
    options = ("--limit-upload", "50", "--host", NAME, "--tag", "20300102T000000Z")
    ended: list[process.Result] = []

    def save() -> None:
        pieces = remote_backup.archive(dump)
        ended.append(restic.save(*options, pieces=pieces, volumes={}))

    thread = Thread(target=save)
    thread.start()
    eventually(lambda: locks(restic), seconds=60, what="the backup has locked the place")
    return ended, thread


@pytest.mark.parametrize(("end", "leaves_a_lock"), [("kill", True), ("stop", False)])
def test_backup_that_was_ended_leaves_no_lock_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
    sftp: dict[str, str],
    dump: Path,
    end: str,
    leaves_a_lock: bool,
) -> None:
    restic = opened(monkeypatch, sftp, create=True)
    upload(restic, "20300101T000000Z", dump)
    ended, saving = saved_slowly(restic, dump)

    with pytest.raises(StackctlError, match=r"another backup of .* is being saved") as raised:
        upload(restic, "20300103T000000Z", dump)

    assert f"docker stop {restic.saving}" in raised.value.hint
    docker(end, restic.saving)
    saving.join(60)
    assert not ended[0].ok and bool(locks(restic)) == leaves_a_lock
    (dump / "large").unlink()
    restic = opened(monkeypatch, sftp)
    assert not locks(restic)
    upload(restic, "20300104T000000Z", dump)
    forget(restic, 1)
    assert names(restic) == ["20300104T000000Z"]


def locks(restic: Restic) -> str:
    """Return the ids of the locks in a place."""
    listed = process.run(*restic.pump("list", "locks", "--no-lock"), environ=restic.place.environ)
    assert listed.ok, listed.err
    return listed.out


def test_interrupted_backup_removes_its_lock_itself(
    monkeypatch: pytest.MonkeyPatch, sftp: dict[str, str], dump: Path
) -> None:
    """As with `docker stop`, or a stop of the timer's service."""
    restic = opened(monkeypatch, sftp, create=True)
    ended, saving = saved_slowly(restic, dump)

    docker("stop", restic.saving)
    saving.join(60)
    assert not ended[0].ok and not locks(restic) and names(restic) == []
