"""Output of other programs: valid, with noise, truncated, malformed, empty or binary."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.test_stackctl_parts import container
from tools.stackctl.balancer import configuration, haproxy, listening
from tools.stackctl.checks.preflight import examine
from tools.stackctl.common import outputs, process
from tools.stackctl.common.faults import RolledBackError, StackctlError
from tools.stackctl.docker import compose, engine, lock
from tools.stackctl.inside import ask
from tools.stackctl.releases import migrate, record
from tools.stackctl.releases.release import from_git

ODD = (
    "",
    "null",
    "[]",
    "5",
    '"text"',
    "{}",
    '[{"Id": 3}]',
    '{"name"',
    "\x00\xff\ufffd",
    "a b c d e",
    "warning: x\n",
)
SERVICES = {"server1": {"image": "p"}, "haproxy": {"image": "haproxy:3.0"}}
PROJECT = compose.Project("p", "production", {"name": "p", "services": SERVICES})


def printing(
    monkeypatch: pytest.MonkeyPatch, out: str | Callable[[str], str], code: int = 0
) -> None:
    """Make every program print this text; a function receives the mark of the script."""

    def run(*command: str, **_: Any) -> process.Result:
        mark = next((word for word in command if word.startswith("answer-")), "")
        return process.Result(code, out if isinstance(out, str) else out(mark), "its errors")

    def run_all(*commands: tuple[str, ...], **_: Any) -> list[process.Result]:
        return [run(*command) for command in commands]

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(process, "run_all", run_all)


def answer(**changes: object) -> str:
    """Return the output of inside/migrations.py."""
    plan = {"applied": ["a.1"], "unapplied": ["a.2"], "errors": {"a.2": ["no"]}, "warnings": {}}
    return json.dumps(plan | changes)


NOISE = ('{"event": "Calling sqlmigrate", "level": "info"}', "\x00\ufffd{", "[1, 2]", "plain text")


@pytest.mark.parametrize("before", ["", *NOISE])
@pytest.mark.parametrize("after", ["", *NOISE])
def test_migration_plan_is_parsed_among_other_output(
    before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The script begins a new line, since previous output may not end with one.
    printing(monkeypatch, lambda mark: f"{before}\n{mark}{answer()}\n{after}\n")

    plan = migrate.make_plan(PROJECT, "p:1", lint=True)

    assert plan == migrate.Plan(("a.1",), ("a.2",), {"a.2": ("no",)}, {})


@pytest.mark.parametrize(
    "shown",
    [
        *(lambda mark, odd=odd: odd for odd in ODD),
        *(lambda mark, odd=odd: f"{mark}{odd}" for odd in ODD),
        lambda mark: f"{mark}{answer()[:40]}",
        lambda mark: answer(),
        lambda mark: f"answer-0000:{answer()}",
        lambda mark: f"{mark}{answer(applied='a.1')}",
        lambda mark: f"{mark}{answer(unapplied=[1])}",
        lambda mark: f"{mark}{answer(errors=['a'])}",
        lambda mark: f"{mark}{answer(errors={'a': 'no'})}",
    ],
)
def test_malformed_migration_plan_is_refused(
    shown: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printing(monkeypatch, shown)

    with pytest.raises(StackctlError, match="cannot list its migrations") as refused:
        migrate.make_plan(PROJECT, "p:1")

    assert "its errors" in refused.value.output


@pytest.mark.parametrize(
    "lines",
    [
        ("  Applying a.2...", "migrate: waiting for a lock", "CommandError: no lock on a table"),
        ("  Applying a.2...CommandError: no lock on a table",),
        ("CommandError: no lock on a table", "", "migrate: waiting for a lock", ""),
    ],
)
def test_lock_timeout_of_a_migration_is_parsed_from_its_output(
    lines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []

    def migrates(*_: object, on_line: Callable[[str], object]) -> process.Result:
        for line in lines:
            on_line(line)
        return process.Result(migrate.LOCK_NOT_FREE, "", "")

    monkeypatch.setattr(compose.Project, "migrate", migrates)
    printing(monkeypatch, lambda mark: f"{mark}{answer()}")

    with pytest.raises(RolledBackError) as failed:
        migrate.run(PROJECT, "p:1", migrate.Plan((), ("a.2",)), messages.append, print)

    assert failed.value.problem.startswith("a migration waited for a lock: no lock on a table\n")
    assert messages == [line for line in lines if line.startswith("migrate: ")]


READERS: dict[str, Callable[[], object]] = {
    "compose config": lambda: compose.load("production"),
    "inspect": lambda: engine.inspect("c") and engine.one("c"),
    "exit code": lambda: engine.exit_code("c"),
    "tags": lambda: engine.tags("p"),
    "show stat": lambda: haproxy.Balancer("c").servers(),
    "show proc": lambda: haproxy.Balancer("c").workers(),
    "binds": lambda: listening.require("c", [], "haproxy.cfg"),
    "lock": lambda: lock.holder(PROJECT),
    "record": lambda: record.read(PROJECT),
    "git": from_git,
    "machine": examine,
    "haproxy -c": lambda: configuration.check(container()),
    "config hashes": PROJECT.config_hashes,
}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: outputs.strings("a"), "TypeError: no list of strings where one belongs"),
        (lambda: outputs.strings([1]), "TypeError: no list of strings where one belongs"),
        (lambda: outputs.mapping("[]"), "TypeError: list where an object belongs"),
        (lambda: outputs.marked("a", "b"), "ValueError: no answer in its output"),
        (lambda: [][0], "IndexError: list index out of range"),
    ],
)
def test_malformed_program_output_is_described(fault: Callable[[], object], words: str) -> None:
    with pytest.raises(StackctlError) as odd, outputs.read("docker ps", "Do this."):
        fault()

    start = "`docker ps` printed output that stackctl cannot parse"
    assert (odd.value.problem, odd.value.hint) == (f"{start} ({words})", "Do this.")


def test_description_of_malformed_output_is_cut_and_has_a_default_hint() -> None:
    with pytest.raises(StackctlError) as odd, outputs.read("docker ps"):
        raise KeyError("x" * 99)

    assert odd.value.problem.endswith(f"(KeyError: '{'x' * 79})")
    assert odd.value.hint.startswith("Run it by hand: ") and outputs.DOCTOR in odd.value.hint


@pytest.mark.parametrize(
    ("text", "fields"), [('{"a": [1]}', {"a": [1]}), ("[1]", {}), ("null", {}), ('{"a"', {})]
)
def test_fields_of_json_that_is_no_object_are_empty(text: str, fields: dict[str, object]) -> None:
    assert outputs.fields(text) == fields


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", READERS)
def test_malformed_program_output_never_causes_a_traceback(
    name: str, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    printing(monkeypatch, odd)

    try:
        READERS[name]()
    except StackctlError as error:
        assert error.problem and "Traceback" not in str(error)
        # The message names the program.
        assert "`None`" not in error.problem


STAT = (
    "# pxname,svname,qcur,scur,slim,status,check_status,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,"
    "hrsp_5xx,hrsp_other,addr\n"
    "dynamic_backend,server1,0,0,2,UP,L7OK,0,7,0,0,0,0,172.18.0.3:7999\n"
)


def test_truncated_haproxy_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    printing(monkeypatch, f"{STAT}\n1\n")
    assert list(haproxy.Balancer("c").servers()) == ["server1"]

    for length in (1, 20, len(STAT) - 60, len(STAT) - 25, len(STAT)):
        printing(monkeypatch, STAT[:length])
        with pytest.raises(StackctlError, match="show servers state` printed"):
            haproxy.Balancer("c").servers()


def test_malformed_program_output_is_reported_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printing(monkeypatch, '{"name": "p", "services": "DB_PASSWORD=hunter2"}')

    with pytest.raises(StackctlError) as refused:
        compose.load("production")

    assert "docker compose config" in refused.value.problem
    assert "hunter2" not in f"{refused.value.problem}{refused.value.hint}"


def test_script_prints_its_answer_on_a_separate_marked_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = outputs.mark()
    print("noise without an end", end="")

    ask.answer(mark, "localhost", [])

    assert outputs.marked(capsys.readouterr().out, mark) == []
