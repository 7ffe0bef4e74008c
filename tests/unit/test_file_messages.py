"""Messages as files: processes that send, receive and start at once never read half a file."""

import fcntl
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from kombu import Connection

from ops.brokers import files
from ops.brokers.files import SafeChannel

MESSAGES = 800
PROCESS = """
import sys
from tests.unit.test_file_messages import {call}
{call}(sys.argv[1])
"""


def connection(folder: str) -> Connection:
    """Return a connection as the settings make it."""
    options = {
        "data_folder_in": f"{folder}/messages",
        "data_folder_out": f"{folder}/messages",
        "control_folder": f"{folder}/control",
    }
    files.prepare(options)
    return Connection("filesystem://", transport_options=options)


def receive(folder: str) -> None:
    """Receive messages until one says that it is the end."""
    with connection(folder) as broker, broker.SimpleQueue("jobs") as jobs:
        print("ready", flush=True)
        payload = None
        while payload != "end":
            if message := jobs.queue.get():
                message.ack()
                payload = message.payload
                print(payload, flush=True)


def watch(folder: str) -> None:
    """End with status 1 if a message is ever seen that is shorter than all are at the end."""
    sizes = set()
    print("ready", flush=True)
    while not Path(folder, "stop").exists():
        sizes |= {file.stat().st_size for file in Path(folder, "messages").glob("*.msg")}
    sys.exit(len(sizes) != 1)


def start(call: str, folder: Path) -> Popen[str]:
    """Start a process that calls a function of this module."""
    command = [sys.executable, "-c", PROCESS.format(call=call), str(folder)]
    process = Popen(command, stdout=PIPE, stderr=PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def test_each_message_is_received_once_by_one_of_two_processes(tmp_path: Path) -> None:
    receivers = [start("receive", tmp_path) for _ in range(2)]
    with connection(str(tmp_path)) as broker, broker.SimpleQueue("jobs") as jobs:
        for number in range(MESSAGES):
            jobs.put(number)
        for _ in receivers:
            jobs.put("end")
        outputs = [receiver.communicate(timeout=60) for receiver in receivers]

    assert [receiver.returncode for receiver in receivers] == [0, 0], outputs
    received = [line for out, _ in outputs for line in out.split() if line != "end"]
    assert sorted(received, key=int) == [str(number) for number in range(MESSAGES)]
    assert [*(tmp_path / "messages").iterdir()] == []


def test_message_is_taken_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move to the disk of /tmp would be a copy, which two processes can make."""
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with connection(str(tmp_path)) as broker, broker.SimpleQueue("letters") as letters:
        letters.put("a")
        message = letters.queue.get()

    assert message and message.payload == "a"


def test_message_is_seen_only_when_it_is_whole(tmp_path: Path) -> None:
    with connection(str(tmp_path)) as broker, broker.SimpleQueue("texts") as texts:
        watching = start("watch", tmp_path)
        for _ in range(20):
            texts.put("x" * 5_000_000)
        (tmp_path / "stop").touch()
        output = watching.communicate(timeout=60)

    assert watching.returncode == 0, output


@pytest.mark.parametrize(
    "use",
    [
        lambda channel: channel.get_table("orders"),
        lambda channel: channel._queue_bind("orders", "key", "", "jobs"),
        lambda channel: channel._delete("jobs", "orders", "key", ""),
    ],
    ids=["sends", "binds", "unbinds"],
)
def test_process_waits_while_another_writes_the_queues(
    tmp_path: Path, use: Callable[[SafeChannel], object]
) -> None:
    control = tmp_path / "control"
    with connection(str(tmp_path)) as broker, broker.channel() as channel:
        using = threading.Thread(target=use, args=[channel], daemon=True)
        with (control / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Kombu makes an empty file first.
            (control / "orders.exchange").touch()
            using.start()
            using.join(0.5)
            waited = using.is_alive()
            (control / "orders.exchange").write_text("[]")
        using.join(30)

    assert waited and not using.is_alive()
