"""A command at a terminal, which asks questions."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def answer(
    command: Sequence[str | Path],
    answers: Mapping[str, str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float = 60,
) -> str:
    """Run a command at a terminal, type an answer at each prompt, and return what it shows."""
    window, terminal = pty.openpty()
    until, shown = time.monotonic() + seconds, ""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        for prompt, text in (*answers.items(), ("", "")):
            latest = ""
            while not (prompt and prompt in latest):
                ready, _, _ = select.select([window], [], [], max(0, until - time.monotonic()))
                try:
                    read = os.read(window, 4096) if ready else b""
                except OSError:  # the end of the terminal
                    read = b""
                if not read:
                    process.kill() if process.poll() is None and not ready else None
                    assert not prompt, f"{prompt!r} did not come: {shown}{latest}"
                    break
                latest += read.decode()
            shown += latest
            if prompt:
                os.write(window, f"{text}\n".encode())
    os.close(window)
    assert process.returncode == 0, shown
    return shown
