"""How stackctl runs other programs, with real shell programs."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tree import ROOT as REPOSITORY
from tests.waiting import eventually
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError

# More than the buffer of a pipe.
LARGE = b"\x00\xff" * 100_000


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run programs in an empty folder."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    monkeypatch.setattr(process, "_POLL_SECONDS", 0.02)
    return tmp_path


def has_ended(pid_file: Path) -> bool:
    """Return whether the process whose id is in a file has ended."""
    state = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_run_returns_both_outputs_and_the_code(root: Path) -> None:
    result = process.run(
        "sh", "-c", "pwd; echo $GIVEN; echo why >&2; exit 3", environ={"GIVEN": "x"}
    )

    assert (result.code, result.ok) == (3, False)
    assert (result.out, result.err) == (f"{root}\nx\n", "why\n")
    assert result.text() == f"{root}\nx\nwhy"
    assert process.run("printenv", "PATH").out.strip() == os.environ["PATH"]
    assert process.run("sh", "-c", "echo only >&2").text() == "only"


def test_run_passes_its_input_and_none_by_default() -> None:
    assert process.run("cat", stdin="a\nb").out == "a\nb"
    assert process.run("cat").out == ""
    # A program that does not read its input.
    assert process.run("true", stdin=LARGE.decode(errors="replace")).ok
    assert process.run("printf", r"\377").out == "\ufffd"


def test_run_all_runs_programs_at_the_same_time_and_returns_their_results_in_order(
    root: Path,
) -> None:
    meet = "touch $0; until [ -e $1 ]; do sleep 0.01; done; echo $0; exit $2"

    first, second = process.run_all(
        ("sh", "-c", meet, "a", "b", "0"), ("sh", "-c", meet, "b", "a", "3"), seconds=20
    )

    assert (first.out, first.code) == ("a\n", 0)
    assert (second.out, second.code) == ("b\n", 3)
    assert process.run_all() == []


CHILD = "sleep 60 & echo $! >child; "


def test_run_all_ends_every_program_when_one_cannot_be_started(root: Path) -> None:
    with pytest.raises(StackctlError, match="no-such-program cannot be started"):
        process.run_all(
            ("sh", "-c", "echo $$ >pid; mv pid child; exec sleep 60"), ("no-such-program",)
        )

    child = root / "child"
    assert not child.exists() or has_ended(child)


@pytest.mark.parametrize("how", ["run", "run_all", "follow"])
def test_program_that_times_out_is_ended_with_its_children(root: Path, how: str) -> None:
    command = ("sh", "-c", CHILD + "wait", "and", "more")

    with pytest.raises(StackctlError) as slow:
        if how == "run":
            process.run(*command, seconds=0.5)
        elif how == "run_all":
            process.run_all(("true",), command, seconds=0.5)
        else:
            process.follow(*command, on_line=print, seconds=0.5)

    assert slow.value.problem == f"`sh -c {command[2]} ...` did not end within 0.5 s"
    assert "docker info" in slow.value.hint
    eventually(lambda: has_ended(root / "child"), seconds=20, what="its child has ended")


def test_program_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setattr(process, "_TERM_SECONDS", 0.2)

    with pytest.raises(StackctlError):
        process.run(
            "sh", "-c", "trap '' TERM; echo $$ >child; while :; do sleep 0.1; done", seconds=0.5
        )

    assert has_ended(root / "child")


@pytest.mark.parametrize("how", ["run", "run_all", "follow", "attended", "pump_out", "pump_in"])
def test_missing_program_is_named(how: str) -> None:
    def attended() -> None:
        with process.attended("no-such-program", until="x", seconds=1):
            pass

    calls: dict[str, Callable[[], object]] = {
        "run": lambda: process.run("no-such-program"),
        "run_all": lambda: process.run_all(("true",), ("no-such-program",)),
        "follow": lambda: process.follow("no-such-program", on_line=print, seconds=1),
        "attended": attended,
        "pump_out": lambda: process.pump_out("no-such-program", sink=print),
        "pump_in": lambda: process.pump_in("no-such-program", pieces=[]),
    }
    with pytest.raises(StackctlError) as missing:
        calls[how]()

    problem = "no-such-program cannot be started: No such file or directory"
    assert (missing.value.problem, missing.value.hint) == (problem, "Is it installed?")


def test_error_without_a_message_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(process.subprocess, "Popen", fail)

    with pytest.raises(StackctlError, match="docker cannot be started: BlockingIOError"):
        process.run("docker")


def test_command_ends_when_a_child_keeps_its_output_open() -> None:
    code = (
        "from tools.stackctl.common import process; process._TERM_SECONDS = 0.1; "
        "print(process.follow('sh', '-c', 'sleep 60 & echo $!', on_line=print, seconds=9).code)"
    )
    pid, ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()
    os.kill(int(pid), signal.SIGKILL)

    assert ended == "0"


def test_follow_passes_on_each_line_immediately(root: Path) -> None:
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        # The script continues only when this line was passed on.
        (root / f"seen-{len(seen)}").touch()

    script = (
        "echo one; until [ -e seen-1 ]; do sleep 0.01; done; echo two >&2; cat; echo $GIVEN; exit 4"
    )
    result = process.follow(
        *("sh", "-c", script),
        on_line=on_line,
        stdin="three\n",
        seconds=20,
        environ={"GIVEN": "four "},
    )

    assert seen == ["one", "two", "three", "four"]
    assert (result.code, result.out, result.err) == (4, "one\ntwo\nthree\nfour", "")


def test_follow_passes_no_input_by_default_and_ignores_unread_input() -> None:
    assert process.follow("cat", on_line=print, seconds=20).ok
    text = LARGE.decode(errors="replace")
    assert process.follow("true", on_line=print, stdin=text, seconds=20).ok


def test_follow_is_cut_short_on_request(root: Path) -> None:
    result = process.follow(
        *("sh", "-c", "echo begun; " + CHILD + "wait"),
        on_line=print,
        seconds=60,
        cut_short=(root / "child").exists,
    )

    assert not result.ok and result.out == "begun"
    eventually(lambda: has_ended(root / "child"), seconds=20, what="its child has ended")


@pytest.mark.parametrize("how", ["run", "follow"])
def test_interrupt_ends_the_program_and_its_children(
    root: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        eventually((root / "child").exists, seconds=20, what="it has begun")
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupt)
    command = ("sh", "-c", CHILD + "wait")

    with pytest.raises(KeyboardInterrupt):
        if how == "run":
            process.run(*command)
        else:
            process.follow(*command, on_line=print, seconds=60, cut_short=interrupt)  # type: ignore[arg-type]

    eventually(lambda: has_ended(root / "child"), seconds=20, what="its child has ended")


def test_attended_program_runs_until_the_block_ends(root: Path) -> None:
    script = "echo $$ >child; echo said >&2; echo held; cat >/dev/null; echo freed >left"

    with process.attended("sh", "-c", script, until="held\n", seconds=20) as started:
        assert (started.code, started.out, started.err) == (0, "held\n", "said\n")
        assert not (root / "left").exists() and not has_ended(root / "child")
        assert process._inherited
    assert (root / "left").read_text() == "freed\n" and not process._inherited

    with (
        pytest.raises(ZeroDivisionError),
        process.attended("sh", "-c", script, until="held\n", seconds=20),
    ):
        (root / "left").unlink()
        _ = 1 / 0
    assert (root / "left").exists()


def test_attended_program_that_ends_by_itself_is_no_error() -> None:
    with process.attended("sh", "-c", "echo no >&2; exit 5", until="held", seconds=20) as started:
        assert (started.code, started.out, started.err) == (5, "", "no\n")


def test_attended_program_that_never_begins_times_out(root: Path) -> None:
    with (
        pytest.raises(StackctlError, match=r"did not end within 0\.3 s"),
        process.attended("sh", "-c", "echo $$ >child; cat", until="held", seconds=0.3),
    ):
        pytest.fail("it has begun")
    assert has_ended(root / "child") and not process._inherited


def test_pump_out_passes_bytes_unchanged(root: Path) -> None:
    (root / "data").write_bytes(LARGE)
    pieces: list[bytes] = []

    result = process.pump_out("sh", "-c", "cat data; echo why >&2; cat; exit 6", sink=pieces.append)

    assert b"".join(pieces) == LARGE
    assert (result.code, result.out, result.err) == (6, "", "why\n")


def test_pump_in_passes_bytes_unchanged(root: Path) -> None:
    pieces = [LARGE[:7], LARGE[7:]]

    result = process.pump_in(
        "sh", "-c", "cat >data; echo lost; echo why >&2; exit 7", pieces=pieces
    )

    assert (root / "data").read_bytes() == LARGE
    assert (result.code, result.out, result.err) == (7, "", "why\n")


def test_pump_in_to_a_program_that_stops_reading_returns_its_exit_code() -> None:
    result = process.pump_in("sh", "-c", "echo full >&2; exit 8", pieces=[LARGE] * 50)

    assert (result.code, result.err) == (8, "full\n")


@pytest.mark.parametrize("how", ["out", "in"])
def test_pump_ends_its_program_when_the_other_side_fails(root: Path, how: str) -> None:
    def fails(*_: object) -> Iterator[bytes]:
        eventually((root / "child").exists, seconds=20, what="it has begun")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        if how == "out":
            script = "echo $$ >child; head -c 2000000 /dev/zero; exec sleep 600"
            process.pump_out("sh", "-c", script, sink=fails)
        else:
            pieces = (fails() for _ in range(1))
            process.pump_in("sh", "-c", "echo $$ >child; exec sleep 600", pieces=pieces)  # type: ignore[arg-type]

    assert has_ended(root / "child")


def test_invalid_utf_8_in_output_is_replaced() -> None:
    seen: list[str] = []
    process.follow("printf", r"a\377\nb\n", on_line=seen.append, seconds=20)
    assert seen == ["a\ufffd", "b"]

    with process.attended(
        "sh", "-c", r"printf '\377held'; cat", until="held", seconds=20
    ) as started:
        assert started.out == "\ufffdheld"


def test_attended_program_that_ignores_the_end_of_its_input_is_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_TERM_SECONDS", 0.2)

    script = "echo $$ >child; echo held; exec sleep 600"
    with process.attended("sh", "-c", script, until="held", seconds=20):
        pass

    assert has_ended(root / "child")
