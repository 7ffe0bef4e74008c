"""The scripts that stackctl runs in the containers of the lock and of HAProxy."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.ports import free_port
from tools.stackctl.balancer.haproxy import TALK
from tools.stackctl.balancer.listening import BIND
from tools.stackctl.commands.reload import WRITE
from tools.stackctl.docker import lock

Store = Callable[[Path, str], "subprocess.CompletedProcess[str]"]


def run(
    *command: str, given: str = "", folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a script with this standard input."""
    return subprocess.run(
        command, input=given, cwd=folder, capture_output=True, text=True, check=False, timeout=10
    )


def perl(script: str, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a Perl script, like `docker exec`."""
    if not shutil.which("perl"):
        pytest.skip("perl, which HAProxy's image has, is not installed here")
    return run("perl", "-e", script, *arguments, given=given)


def store_state(path: Path, text: str) -> "subprocess.CompletedProcess[str]":
    return perl(WRITE, str(path), given=text)


def store_record(path: Path, text: str) -> "subprocess.CompletedProcess[str]":
    return run("sh", "-c", lock._STORE, "sh", path.name, given=text, folder=path.parent)


@pytest.mark.parametrize("store", [store_state, store_record])
def test_files_in_containers_are_replaced_atomically(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "file"
    for text in ("one\n", "two\n" * 1000):
        assert store(file, text).returncode == 0
        assert file.read_text() == text
    # A full disk.
    (tmp_path / "file.new").symlink_to("/dev/full")

    failed = store(file, "three\n")

    assert failed.returncode != 0 and "No space left" in failed.stderr
    assert file.read_text() == "two\n" * 1000


def test_server_state_file_is_readable_only_by_haproxy(tmp_path: Path) -> None:
    store_state(tmp_path / "file", "one\n")

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("record", ["", '{"release": "aaaa"}\n'])
def test_lock_prints_owner_and_record_and_lasts_until_its_input_ends(
    tmp_path: Path, record: str
) -> None:
    if record:
        (tmp_path / "releases.jsonl").write_text(record)
        (tmp_path / "owner").write_text("/home/me/shop\n")
    command = ("sh", "-c", lock._HOLD)
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin and holder.stdout
        printed = "".join(iter(holder.stdout.readline, lock._HELD))
        with pytest.raises(subprocess.TimeoutExpired):
            holder.wait(0.1)
        holder.stdin.close()
        assert holder.wait(10) == 0

    owner = "/home/me/shop" if record else ""
    assert printed.endswith(f"\nowner {owner}\n{record}")


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Return a socket that answers when a client has sent all commands, and these commands."""
    received: list[str] = []
    path = tmp_path / "admin.sock"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as stream:
                received.append(stream.read())
                stream.write("first\n\nsecond\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield path, received
        thread.join(10)


def test_commands_are_sent_to_haproxy_and_its_complete_answer_is_returned(
    haproxy: tuple[Path, list[str]],
) -> None:
    path, received = haproxy

    result = perl(TALK, str(path), "5", given="show stat;show info\n")

    assert (result.returncode, result.stdout) == (0, "first\n\nsecond\n")
    assert received == ["show stat;show info\n"]


def test_haproxy_that_accepts_and_never_answers_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(str(path))
        silent.listen()

        result = perl(TALK, str(path), "1", given="show stat\n")

    assert result.returncode != 0 and result.stderr == f"{path}: no answer within 1 s\n"


def test_missing_socket_of_haproxy_is_named(tmp_path: Path) -> None:
    result = perl(TALK, str(tmp_path / "none.sock"), "5", given="show stat\n")

    assert result.returncode != 0
    assert result.stderr == f"{tmp_path}/none.sock: No such file or directory\n"


def test_addresses_that_haproxy_cannot_bind_are_printed_with_the_reason() -> None:
    taken, own = socket.socket(), socket.socket()
    # Like a port of the running HAProxy process.
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with closing(taken), closing(own):
        for listener in (taken, own):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        ports = [listener.getsockname()[1] for listener in (taken, own)]
        wanted = [("127.0.0.1", port) for port in (*ports, free_port())]
        given = "".join(f"{host} {port}\n" for host, port in [*wanted, ("192.0.2.1", 80)])

        result = perl(BIND.read_text(), given=given)

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"127.0.0.1 {ports[0]} {os.strerror(errno.EADDRINUSE)}",
        f"192.0.2.1 80 {os.strerror(errno.EADDRNOTAVAIL)}",
    ]
