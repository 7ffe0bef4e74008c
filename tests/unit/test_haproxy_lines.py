"""HAProxy's log lines on their way to the engine: joined, and none lost."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.waiting import eventually

# Of join-lines.
REST_SECONDS = 0.02
LINES = [b"line %d\n" % number for number in range(100)]


def test_lines_are_passed_on_together_and_in_order() -> None:
    """Each datagram is one write."""
    received, stdout = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    received.settimeout(20)
    with received, stdout:
        joiner = subprocess.Popen(
            [str(ROOT / "haproxy/join-lines")],
            stdin=subprocess.PIPE,
            stdout=stdout.fileno(),
            bufsize=0,
        )
        assert joiner.stdin
        joiner.stdin.write(b"first\n")
        assert received.recv(1000) == b"first\n"
        begun = time.monotonic()
        for line in LINES:
            joiner.stdin.write(line)
            time.sleep(0.001)
        seconds = time.monotonic() - begun
        joiner.stdin.close()
        writes: list[bytes] = []
        while b"".join(writes) != b"".join(LINES):
            writes.append(received.recv(1_000_000))

    assert len(writes) <= seconds / REST_SECONDS + 2
    assert joiner.wait(10) == 0


@pytest.fixture
def serve(tmp_path: Path) -> list[str]:
    """Return the start of HAProxy in a folder of the test."""
    for name in ("serve", "join-lines"):
        text = (ROOT / "haproxy" / name).read_text().replace("/var/lib/haproxy", str(tmp_path))
        (tmp_path / name).write_text(text.replace(f"=> {REST_SECONDS}", "=> 0.5"))
        (tmp_path / name).chmod(0o755)
    return [str(tmp_path / "serve")]


def test_haproxy_ends_only_when_its_last_line_is_written(serve: list[str], tmp_path: Path) -> None:
    written = tmp_path / "written"
    with written.open("wb") as stdout:
        # The second comes while join-lines rests, which it does for longer here.
        program = f"echo one; until grep -q one {written}; do :; done; echo two; exit 3"
        command = [*serve, "sh", "-c", program]
        done = subprocess.run(command, stdout=stdout, timeout=20, check=False)

    assert (done.returncode, written.read_text()) == (3, "one\ntwo\n")


@pytest.fixture
def echo(serve: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as HAProxy that logs what is written to the pipe `said`."""
    os.mkfifo(tmp_path / "said")
    program = f"while read line; do echo $line; done <{tmp_path}/said"
    with (
        (tmp_path / "written").open("wb") as stdout,
        subprocess.Popen([*serve, "sh", "-c", program], stdout=stdout) as running,
    ):
        yield running


def test_lines_are_kept_while_join_lines_is_restarted(
    echo: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    written = tmp_path / "written"

    def joiners() -> list[int]:
        ps = subprocess.check_output(["ps", "-A", "-ww", "-o", "pid=,args="], text=True)
        own = [row.split() for row in ps.splitlines() if f"{tmp_path}/join-lines" in row]
        return [int(row[0]) for row in own]

    with (tmp_path / "said").open("w", buffering=1) as said:
        said.write("one\n")
        eventually(lambda: written.read_text() == "one\n", seconds=10, what="a line is written")
        (joiner,) = joiners()
        os.kill(joiner, signal.SIGKILL)
        eventually(lambda: joiner not in joiners(), seconds=10, what="join-lines is gone")
        said.write("two\n")
        eventually(
            lambda: written.read_text() == "one\ntwo\n", seconds=20, what="the next is written"
        )

    assert echo.wait(20) == 0
