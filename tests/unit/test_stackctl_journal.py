"""`logs --request` with LOG_DRIVER=journald: how journalctl is asked, and what it answers."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.scripted.stack import run
from tools.stackctl.checks import preflight
from tools.stackctl.commands import stack
from tools.stackctl.common import process
from tools.stackctl.docker import compose, journal

REQUEST = "6246be24-8f0c-4a55-9a37-1f1b4d2c7e10"
TIME = "2030-01-01T12:00:00.{}00000000Z"
SERVICE = {"image": "app", "logging": {"driver": "journald"}}


def entry(tenth: int, container: str, message: str | list[int], **fields: str) -> str:
    """Return a line of `journalctl --output=json`."""
    name = f"mysite-local-{container}"
    given = {"MESSAGE": message, "CONTAINER_NAME": name, "SYSLOG_TIMESTAMP": TIME.format(tenth)}
    return json.dumps({**given, **fields})


def part(number: int, message: str) -> str:
    """Return a part of a long line."""
    fields = {journal.LINE: "line-1", journal.PART: str(number)}
    return entry(number, "worker-1", message, **fields)


class Journal:
    """What the journal has, and journalctl was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Create a stack that logs to it."""
        self.calls: list[tuple[str, ...]] = []
        self.matching: list[str] = []
        self.parts: list[str] = []
        self.refusal = ""
        services = dict.fromkeys(("haproxy", "server1", "worker"), SERVICE)
        project = compose.Project("mysite-local", "local", {"services": services})
        monkeypatch.setattr(stack, "load", lambda: project)
        monkeypatch.setattr(process, "run", self.run)

    def run(self, *command: str, seconds: float = 0) -> process.Result:
        """Answer journalctl."""
        self.calls.append(command)
        lines = self.matching if f"--grep={REQUEST}" in command else self.parts
        if self.refusal or not lines:
            return process.Result(1, "", self.refusal)
        return process.Result(0, "\n".join(lines), "")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Return the journal."""
    return Journal(monkeypatch)


def test_lines_in_the_journal_are_those_of_removed_containers_too(fake: Journal) -> None:
    coloured = list(f"\033[1m{REQUEST}\033[0m".encode())
    fake.matching = [entry(2, "server1-1", coloured), entry(1, "haproxy-1", f"a {REQUEST}")]

    ended = run(["logs", "--request", REQUEST, "--json", "haproxy", "server1"])

    assert [(line["container"], line["text"]) for line in json.loads(ended.out)["lines"]] == [
        ("haproxy-1", f"a {REQUEST}"),
        ("server1-1", f"\033[1m{REQUEST}\033[0m"),
    ]
    (call,) = fake.calls
    assert call[0] == "journalctl" and not any(word.startswith("--since") for word in call)
    assert call[-3:] == (
        "COM_DOCKER_COMPOSE_PROJECT=mysite-local",
        "COM_DOCKER_COMPOSE_SERVICE=haproxy",
        "COM_DOCKER_COMPOSE_SERVICE=server1",
    )


def test_long_line_in_the_journal_is_joined_from_its_parts(fake: Journal) -> None:
    fake.matching = [part(2, f"{REQUEST} and")]
    fake.parts = [part(3, " an end"), part(1, "a beginning, "), part(2, f"{REQUEST} and")]

    ended = run(["logs", "--request", REQUEST, "--json"])

    (line,) = json.loads(ended.out)["lines"]
    assert line["text"] == f"a beginning, {REQUEST} and an end"
    assert line["time"] == TIME.format(1)
    assert "CONTAINER_PARTIAL_ID=line-1" in fake.calls[1]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("10m", "-10m"),
        ("1h30m", "-1h30m"),
        ("1893499200.5", "@1893499200.5"),
        ("2030-01-01T12:00:00Z", "@1893499200.000000"),
        ("2030-01-01T13:00:00+01:00", "@1893499200.000000"),
        ("noon", "-noon"),
    ],
)
def test_since_is_the_same_for_the_journal_and_docker(
    fake: Journal, since: str, expected: str
) -> None:
    run(["logs", "--request", REQUEST, "--since", since])

    assert f"--since={expected}" in fake.calls[0]


def test_since_without_a_zone_is_local_time(fake: Journal) -> None:
    run(["logs", "--request", REQUEST, "--since", "2030-01-01"])

    local = datetime(2030, 1, 1).astimezone(UTC).timestamp()
    assert f"--since=@{local:f}" in fake.calls[0]


def test_no_line_in_the_journal_names_its_size(fake: Journal) -> None:
    ended = run(["logs", "--request", REQUEST])

    assert ended.code == 1 and f"no line in the journal has {REQUEST}" in ended.err
    assert "journalctl --disk-usage" in ended.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("No journal files were opened due to insufficient permissions.", "systemd-journal"),
        ("Failed to parse timestamp: -noon", "10m"),
    ],
)
def test_journalctl_that_refuses_is_named_with_the_next_step(
    fake: Journal, words: str, hint: str
) -> None:
    fake.refusal = f"{words}\n"

    ended = run(["logs", "--request", REQUEST])

    assert ended.code == 1 and words in ended.err and hint in ended.err


def test_preflight_names_a_journal_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "none"))

    check = preflight.journal_check(str(tmp_path))

    assert "nothing listens" in check.problem and "LOG_DRIVER" in check.hint
    # The engine's own machine is another one, as with Docker Desktop.
    assert preflight.journal_check(str(tmp_path / "elsewhere")).ok
