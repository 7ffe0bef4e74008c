"""How stackctl handles addresses, OS errors, tar, and its own kill."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.tree import ROOT
from tests.waiting import eventually
from tools.stackctl.commands import backup, restore
from tools.stackctl.common.ending import run
from tools.stackctl.common.faults import from_system
from tools.stackctl.docker import compose


@pytest.mark.parametrize(
    ("published", "address", "url"),
    [
        ("", "127.0.0.1", "http://localhost:80/"),
        ("0.0.0.0", "127.0.0.1", "http://localhost:80/"),
        ("::", "::1", "http://localhost:80/"),
        ("[::1]", "::1", "http://localhost:80/"),
        ("192.0.2.1", "192.0.2.1", "http://192.0.2.1:80/"),
        ("2001:db8::1", "2001:db8::1", "http://[2001:db8::1]:80/"),
    ],
)
def test_stackctl_requests_the_site_at_its_published_address(
    published: str, address: str, url: str
) -> None:
    port = {"target": 8080, "published": "80", "host_ip": published}
    services = {"haproxy": {"environment": {}, "ports": [port]}}

    site = compose.Project("p", "local", {"services": services}).site()

    assert (site.address, site.url) == (address, url)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "var/lock"), "another user"),
        (OSError(errno.ENOSPC, "No space left on device", "backups/x"), "Free space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "backups/x"), "Free space"),
        (OSError(errno.EIO, "Input/output error", "disk"), "Correct that"),
    ],
)
def test_os_error_is_reported_with_the_next_step(
    error: OSError, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> dict[str, object]:
        raise error

    with pytest.raises(typer.Exit) as ended:
        run(False, fails)

    output = capsys.readouterr()
    assert ended.value.exit_code == 1
    assert str(error.filename) in output.out + output.err
    assert words in output.out + output.err
    assert from_system(error).problem == f"{error.filename}: {error.strerror}"


@pytest.mark.parametrize(("code", "kept"), [(0, True), (1, True), (2, False)])
def test_backup_accepts_files_that_change_while_tar_reads_them(
    tmp_path: Path, code: int, kept: bool
) -> None:
    """GNU tar then exits with 1, and with 2 on failure."""
    tar = tmp_path / "tar"
    tar.write_text(f"#!/bin/sh\nexit {code}\n")
    tar.chmod(0o755)

    script = backup.PACK.removeprefix(backup.MOUNTED)
    result = subprocess.run(
        ["sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False
    )

    assert (result.returncode == 0) is kept


def in_folder(folder: Path, script: str, given: bytes = b"") -> bytes:
    """Run a script of backup or restore in another root folder."""
    moved = ["sh", "-euc", at_root(folder, script)]
    return subprocess.run(moved, input=given, check=True, capture_output=True).stdout


def at_root(folder: Path, script: str) -> str:
    """Return a script of backup or restore with the paths of another root folder."""
    return script.removeprefix(backup.MOUNTED).replace("srv", f"{str(folder)[1:]}/srv")


@pytest.mark.parametrize("name", ["a.png", ".private", ".private-notes", "private", "media"])
def test_media_file_of_any_name_is_restored(tmp_path: Path, name: str) -> None:
    media, private = tmp_path / "srv/media", tmp_path / "srv/private"
    for folder in (media, private):
        folder.mkdir(parents=True)
    (media / name).write_text("public")
    (private / "secret").write_text("private")

    packed = in_folder(tmp_path, backup.PACK)
    (media / name).unlink()
    (private / "later").touch()
    in_folder(tmp_path, restore.STAGE, packed)
    in_folder(tmp_path, restore.SWITCH)

    assert {path.name: path.read_text() for path in media.iterdir()} == {name: "public"}
    assert {path.name: path.read_text() for path in private.iterdir()} == {"secret": "private"}


@pytest.mark.parametrize("number", range(1, 5))
def test_restore_fails_and_removes_no_file_when_a_file_cannot_be_moved(
    tmp_path: Path, number: int
) -> None:
    """The live files of both folders move away first, then the restored ones move in."""
    for folder in backup.FOLDERS:
        live = tmp_path / folder[1:]
        (live / backup.STAGED).mkdir(parents=True)
        for file in (live / f"{live.name}-now", live / backup.STAGED / f"{live.name}-then"):
            file.touch()
    count = f"echo >>{tmp_path}/moved; [ $(wc -l <{tmp_path}/moved) != {number} ] || exit 1"
    (tmp_path / "mv").write_text(f'#!/bin/sh\n{count}\nexec /bin/mv "$@"\n')
    (tmp_path / "mv").chmod(0o755)

    result = subprocess.run(
        ["sh", "-c", at_root(tmp_path, restore.SWITCH)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=False,
    )

    assert result.returncode != 0
    left = {path.name for path in tmp_path.glob("srv/**/*-*")}
    assert left == {"media-now", "media-then", "private-now", "private-then"}


@pytest.mark.parametrize(
    "script", [backup.PACK, restore.STAGE, restore.SWITCH], ids=["save", "unpack", "switch"]
)
@pytest.mark.parametrize("missing", backup.FOLDERS)
def test_backup_and_restore_change_no_folder_without_its_volume(
    tmp_path: Path, script: str, missing: str
) -> None:
    """Without the volume it is an empty folder of the image, lost with the container."""
    (tmp_path / "mounts").write_text(
        "".join(
            f"/dev/sda {folder} ext4 rw 0 0\n" for folder in backup.FOLDERS if folder != missing
        )
    )
    # Without programs in PATH, it can only print the message.
    alone = {"PATH": str(tmp_path)}
    (tmp_path / "grep").symlink_to("/usr/bin/grep")

    result = subprocess.run(
        ["/bin/sh", "-c", script.replace("/proc/mounts", str(tmp_path / "mounts"))],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (1, f"no volume is mounted at {missing}\n")


def test_archive_of_the_former_format_keeps_private_files(tmp_path: Path) -> None:
    media, private = tmp_path / "srv/media", tmp_path / "srv/private"
    for folder in (media, private):
        folder.mkdir(parents=True)
        (folder / "now").touch()
    (tmp_path / "former/private").mkdir(parents=True)
    (tmp_path / "former/private/a.png").touch()
    command = ["tar", "--create", "--directory", str(tmp_path / "former"), "."]
    packed = subprocess.run(command, check=True, capture_output=True).stdout

    in_folder(tmp_path, restore.STAGE, packed)
    in_folder(tmp_path, restore.SWITCH)

    assert [path.relative_to(media) for path in media.rglob("*.*")] == [Path("private/a.png")]
    assert [path.name for path in private.iterdir()] == ["now"]


KILLED = """
import sys
from pathlib import Path
from tools.stackctl.common import process
process.ROOT = Path(sys.argv[1])
with process.attended("sh", "-c", "echo held; cat; ls >left", until="held\\n", seconds=60):
    program = ("sh", "-c", ": >started; sleep 1; rm started")
    if sys.argv[2] == "run":
        process.run(*program)
    elif sys.argv[2] == "pump_in":
        process.pump_in(*program, pieces=())
    else:
        process.pump_out(*program, sink=print)
"""


@pytest.mark.parametrize("how", ["run", "pump_in", "pump_out"])
def test_lock_of_a_killed_stackctl_is_held_until_its_programs_end(tmp_path: Path, how: str) -> None:
    """Otherwise `docker compose up` or a restore could run in parallel with a rollback."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), how], cwd=ROOT) as killed:
        eventually((tmp_path / "started").exists, seconds=60, what="it has started a program")
        killed.kill()

    left = tmp_path / "left"
    eventually(lambda: left.exists() and left.read_text(), seconds=60, what="the lock is free")
    assert left.read_text() == "left\n"
