"""The one place where other programs are started.

Each runs in a session of its own, so that a terminal's Ctrl-C reaches stackctl alone, which then
decides what may be cut short.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from .faults import StackctlError

ROOT = Path(__file__).resolve().parents[3]
# Any question to the engine is answered within this; builds and starts say their own limits.
ANSWER_SECONDS = 60.0
PIECE_BYTES = 1 << 20
_POLL_SECONDS = 0.2
_ATTEND_SECONDS = 0.01
_TERM_SECONDS = 10
# The standard inputs of attended programs: programs that start meanwhile keep them open.
_inherited: set[int] = set()


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Return whether its exit code is 0."""
        return self.code == 0

    def text(self) -> str:
        """Return all that it printed, errors last."""
        return "\n".join(part for part in (self.out.strip(), self.err.strip()) if part)


def become(*command: str) -> NoReturn:
    """Let a program take this one's place, with its terminal and its exit code.

    Raises:
        StackctlError: it cannot be started.
    """
    os.chdir(ROOT)
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell)
    except FileNotFoundError:
        raise StackctlError(f"{command[0]} is not installed", "`./stackctl doctor`") from None


def run(
    *command: str,
    stdin: str | None = None,
    seconds: float = ANSWER_SECONDS,
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Run a program in the project's root and return its result, whatever it is.

    Args:
        command: the program and its arguments; never a secret among them.
        stdin: what it reads; nothing by default.
        seconds: how long it may take.
        environ: variables on top of this process's own.

    Raises:
        StackctlError: it cannot be started, or takes too long.
    """
    # Files, not pipes: should stackctl be killed, what it started still comes to its end.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = _start(command, environ, stdin is not None, out, err)
        try:
            process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise _too_slow(command, seconds) from None
        except BaseException:
            _end(process)
            raise
        return Result(process.returncode, _text(out), _text(err))


def run_all(*commands: Sequence[str], seconds: float = ANSWER_SECONDS) -> list[Result]:
    """Run programs at the same time, and return the result of each, in order.

    Args:
        commands: each a program and its arguments; never a secret among them.
        seconds: how long all of them may take.

    Raises:
        StackctlError: one cannot be started, or takes too long; none runs any more.
    """
    deadline = time.monotonic() + seconds
    with ExitStack() as files:
        started: list[tuple[subprocess.Popen[str], IO[bytes], IO[bytes]]] = []
        try:
            for command in commands:
                out = files.enter_context(tempfile.TemporaryFile())
                err = files.enter_context(tempfile.TemporaryFile())
                started.append((_start(tuple(command), None, False, out, err), out, err))
            for command, (process, _, _) in zip(commands, started, strict=True):
                try:
                    process.wait(max(deadline - time.monotonic(), 0))
                except subprocess.TimeoutExpired:
                    raise _too_slow(tuple(command), seconds) from None
        except BaseException:
            for process, _, _ in started:
                _end(process)
            raise
        return [Result(process.returncode, _text(out), _text(err)) for process, out, err in started]


def follow(
    *command: str,
    on_line: Callable[[str], object],
    stdin: str | None = None,
    seconds: float,
    environ: Mapping[str, str] | None = None,
    cut_short: Callable[[], bool] = lambda: False,
) -> Result:
    """Run a long program, passing on each line as it comes; both outputs are one.

    Args:
        command: the program and its arguments.
        on_line: called with each line.
        stdin: what it reads; nothing by default.
        seconds: how long it may take.
        environ: variables on top of this process's own.
        cut_short: polled; once true, the program is ended.

    Raises:
        StackctlError: it cannot be started, or takes too long.
    """
    process = _start(command, environ, stdin is not None, subprocess.PIPE, subprocess.STDOUT)
    lines: list[str] = []

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.append(line.rstrip())
            on_line(line.rstrip())

    assert process.stdout is not None  # noqa: S101 (PIPE, above)
    reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        if process.stdin is not None and stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(stdin)
            process.stdin.close()
        waited = 0.0
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                break
            waited += _POLL_SECONDS
            if cut_short():
                _end(process)
                break
            if waited > seconds:
                _end(process)
                raise _too_slow(command, seconds)
    except BaseException:
        _end(process)
        raise
    reader.join(_TERM_SECONDS)
    return Result(process.returncode, "\n".join(lines), "")


@contextmanager
def attended(*command: str, until: str, seconds: float) -> Iterator[Result]:
    """Run a program that ends with its standard input for the block's time.

    It ends too when stackctl is killed, and what the block has started has ended: a killed deploy
    leaves a `docker compose up` that goes on.

    Args:
        command: the program and its arguments.
        until: the block begins when the program has printed this, or has ended.
        seconds: how long that may take.

    Raises:
        StackctlError: it cannot be started, or takes too long.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = _start(command, None, True, out, err)
        assert process.stdin is not None  # noqa: S101 (PIPE, above)
        _inherited.add(process.stdin.fileno())
        try:
            deadline = time.monotonic() + seconds
            while process.poll() is None and until.encode() not in _printed(out):
                if time.monotonic() > deadline:
                    raise _too_slow(command, seconds)
                time.sleep(_ATTEND_SECONDS)
            code = process.returncode or 0
            yield Result(code, _printed(out).decode(errors="replace"), _text(err))
        finally:
            _inherited.discard(process.stdin.fileno())
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TERM_SECONDS)
            _end(process)


def _printed(file: IO[bytes]) -> bytes:
    # Not by seek(), which would move where the program writes.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def pump_out(
    *command: str, sink: Callable[[bytes], object], environ: Mapping[str, str] | None = None
) -> Result:
    """Run a program whose output is data, without a time limit; only its errors are kept.

    Args:
        command: the program and its arguments.
        sink: called with each piece of the output, at most PIECE_BYTES; what it raises ends the
            program, and passes through.
        environ: variables on top of this process's own.

    Raises:
        StackctlError: it cannot be started.
    """
    return _pump(command, None, sink, environ)


def pump_in(
    *command: str, pieces: Iterable[bytes], environ: Mapping[str, str] | None = None
) -> Result:
    """Run a program that reads data, without a time limit; only its errors are kept.

    Args:
        command: the program and its arguments.
        pieces: the data; what the iterator raises ends the program, and passes through.
        environ: variables on top of this process's own.

    Raises:
        StackctlError: it cannot be started.
    """
    return _pump(command, pieces, None, environ)


def _pump(
    command: tuple[str, ...],
    pieces: Iterable[bytes] | None,
    sink: Callable[[bytes], object] | None,
    environ: Mapping[str, str] | None,
) -> Result:
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 (a fixed program, no shell)
                command,
                cwd=ROOT,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL if pieces is None else subprocess.PIPE,
                stdout=subprocess.DEVNULL if sink is None else subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                pass_fds=tuple(_inherited),
            )
        except OSError as error:
            raise _cannot_start(command, error) from None
        try:
            if pieces is not None and process.stdin is not None:
                with suppress(BrokenPipeError):
                    for piece in pieces:
                        process.stdin.write(piece)
                with suppress(BrokenPipeError):
                    process.stdin.close()
            if sink is not None and process.stdout is not None:
                while piece := process.stdout.read(PIECE_BYTES):
                    sink(piece)
            process.wait()
        except BaseException:
            _end(process)
            raise
        return Result(process.returncode, "", _text(errors))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _start(
    command: tuple[str, ...],
    environ: Mapping[str, str] | None,
    reads: bool,
    out: int | IO[bytes],
    err: int | IO[bytes],
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(  # noqa: S603 (a fixed program, no shell)
            command,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=tuple(_inherited),
        )
    except OSError as error:
        raise _cannot_start(command, error) from None


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a program with all that it started."""
    for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _cannot_start(command: tuple[str, ...], error: OSError) -> StackctlError:
    reason = error.strerror or type(error).__name__
    return StackctlError(f"{command[0]} cannot be started: {reason}", "Is it installed?")


def _too_slow(command: tuple[str, ...], seconds: float) -> StackctlError:
    what = " ".join(command[:3])
    return StackctlError(
        f"`{what} ...` did not end within {seconds:g} s",
        "Check `docker ps` and `docker info`; is the machine overloaded?",
    )
