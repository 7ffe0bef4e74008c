"""Runs a command of stackctl from start to end, in a scripted stack."""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
import typer.main

from tests.program import Ended
from tests.unit.scripted.balancer import Answer, Site
from tests.unit.scripted.clock import Clock
from tests.unit.scripted.engine import APPLICATION, Engine
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE
from tools.stackctl import cli
from tools.stackctl.checks import ports
from tools.stackctl.common import process


@cache
def site_of(process_id: int) -> Site:
    """Return the site of a process: a fork of `make mutants` has no server thread."""
    return Site()


def site() -> Site:
    """Return the site of this process."""
    return site_of(os.getpid())


# Cached, since it takes a fifth of the time of a command.
get_command = cache(typer.main.get_command)


class Killed(BaseException):
    """The end of the process, as with kill -9."""


def run(argv: Sequence[str]) -> Ended:
    """Run a command of stackctl in this process."""
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in raw)
    code = 137
    with redirect_stdout(out), redirect_stderr(err), suppress(Killed):
        try:
            cli.main(argv)
        except SystemExit as ended:
            code = int(ended.code or 0)
    done = Ended(code, *(stream.getvalue().decode() for stream in raw))
    # A message must not contain a missing value.
    assert "None" not in done.err or "Traceback" in done.err, done.err
    return done


class Stack(Engine):
    """The engine, with commands of stackctl."""

    def visitors_get(self, answer: Answer) -> None:
        """Set the responses of the site."""
        site().answer = answer

    def run(self, *argv: str) -> Ended:
        """Run a command."""
        del self.steps[:], self.calls[:]
        return run(argv)

    def deploy(self, commit: str, *options: str) -> Ended:
        """Deploy a commit."""
        self.commit = commit
        return self.run("deploy", "--json", *options)

    def cut_off(self, how: str, step: int, command: Callable[[], Ended]) -> Ended | None:
        """Cut a command off before a step: by Ctrl-C, kill -9 or an internal error."""

        def at(number: int) -> None:
            if how == "kill" and number >= step:
                raise Killed
            if how == "interrupt" and number == step:
                interrupts()
            if how == "crash" and number == step:
                raise RuntimeError("a fault of stackctl")

        self.at_step = at
        try:
            return command()
        except RuntimeError:
            return None
        finally:
            self.at_step = lambda _: None

    def serves(self, release: str) -> bool:
        """Return whether all services run a release, in service, and compose would start it."""
        return (
            self.releases() == dict.fromkeys(APPLICATION, release)
            and not self.balancer.drained()
            and self.images[f"{IMAGE}:latest"] == f"sha256:{release}"
        )


def fails(words: str, code: int = 1, *, times: int = 1000) -> Callable[[], Reply | None]:
    """Return a fault that fails a step the first `times`."""
    left = iter(range(times))

    def fail() -> Reply | None:
        return Reply(code, words, words) if next(left, None) is not None else None

    return fail


def interrupts() -> None:
    """Interrupt, as with Ctrl-C."""
    # To this thread, immediately: os.kill() may signal another thread.
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Stack]]:
    """Return a function that creates a healthy stack: two servers and a worker of `aaaa`."""
    (tmp_path / "haproxy").mkdir()
    (tmp_path / "supervisor").mkdir()
    for name in ("haproxy/haproxy.cfg", "supervisor/entrypoint"):
        (tmp_path / name).touch(0o644)
    monkeypatch.setattr(process, "ROOT", tmp_path)
    monkeypatch.setattr(typer.main, "get_command", get_command)
    for name in set(os.environ) - {"PATH", "HOME"}:
        monkeypatch.delenv(name)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    # No terminal: prompts get no answer.
    monkeypatch.setattr("sys.stdin", io.StringIO())
    # The site of the scripted HAProxy uses the port.
    monkeypatch.setattr(ports, "bind_error", lambda *_: None)
    present: list[Stack] = []
    clock = Clock()
    for name, module in list(sys.modules.items()):
        if name.startswith("tools.stackctl.") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", clock)

    def reply_of(
        command: tuple[str, ...], stdin: bytes, environ: Mapping[str, str] | None
    ) -> Reply:
        present[0].environ = dict(environ or {})
        return present[0].call(command, stdin)

    def call(
        *command: str,
        stdin: bytes = b"",
        seconds: float = math.inf,
        environ: Mapping[str, str] | None = None,
    ) -> process.Result:
        begin = clock.now
        reply = reply_of(command, stdin, environ)
        if clock.now - begin > seconds:
            raise process._too_slow(command, seconds)
        return process.Result(reply.code, reply.out, reply.err)

    def run(
        *command: str,
        stdin: str | None = None,
        seconds: float = process.ANSWER_SECONDS,
        environ: Mapping[str, str] | None = None,
        **_: object,
    ) -> process.Result:
        return call(*command, stdin=(stdin or "").encode(), seconds=seconds, environ=environ)

    def run_all(
        *commands: Sequence[str], seconds: float = process.ANSWER_SECONDS
    ) -> list[process.Result]:
        return [call(*command, seconds=seconds) for command in commands]

    def follow(
        *command: str,
        on_line: Callable[[str], object],
        stdin: str | None = None,
        seconds: float,
        cut_short: Callable[[], bool] = lambda: False,
        environ: Mapping[str, str] | None = None,
        **_: object,
    ) -> process.Result:
        sent = (stdin or "").encode()
        result = call(*command, stdin=sent, seconds=seconds, environ=environ)
        for line in result.out.splitlines():
            on_line(line)
        return process.Result(-15, result.out, "") if cut_short() else result

    @contextmanager
    def attended(*command: str, **_: object) -> Iterator[process.Result]:
        reply = present[0].call(command)
        try:
            yield process.Result(reply.code, reply.out, reply.err)
        finally:
            if not reply.code:
                present[0].release_lock()

    def pump_out(
        *command: str,
        sink: Callable[[bytes], object],
        environ: Mapping[str, str] | None = None,
    ) -> process.Result:
        reply = reply_of(command, b"", environ)
        sink(reply.data)
        return process.Result(reply.code, "", reply.err)

    def pump_in(
        *command: str, pieces: Iterable[bytes], environ: Mapping[str, str] | None = None
    ) -> process.Result:
        return call(*command, stdin=b"".join(pieces), environ=environ)

    for replacement in (run, run_all, follow, attended, pump_out, pump_in):
        monkeypatch.setattr(process, replacement.__name__, replacement)

    def make() -> Stack:
        (tmp_path / ".env").write_text("LAYER=local\n")
        clock.__init__()  # type: ignore[misc]
        present[:] = [Stack(tmp_path, clock, site().port)]
        site().answer, site().hosts = present[0].balancer.answer, present[0].hosts
        return present[0]

    # Background jobs of a shell ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield make
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stack(scripted: Callable[[], Stack]) -> Stack:
    """Return a healthy stack: two servers and a worker of release `aaaa`."""
    return scripted()


# KiB of memory for two servers and a worker twice: they use 300,000.
ENOUGH = 600_000


@pytest.fixture
def roomy(stack: Stack) -> Stack:
    """Return a stack on a machine with memory for all servers twice."""
    stack.replicas.available = ENOUGH
    return stack
