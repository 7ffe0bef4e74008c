"""The systemd timer of `stackctl backup --install-timer`."""

import configparser
import os
from pathlib import Path

import pytest

from tests.unit.scripted.stack import Stack
from tools.stackctl.commands import timer
from tools.stackctl.common import process


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters="=", strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


@pytest.fixture
def systemd(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let systemd run this machine, and root this process; return the calls of systemctl."""
    calls: list[str] = []
    run = process.run

    def systemctl(*command: str, **options: object) -> process.Result:
        if command[0] != "systemctl":
            return run(*command, **options)  # type: ignore[arg-type]
        calls.append(" ".join(command[1:]))
        return process.Result(0, "", "")

    (tmp_path / "system").mkdir()
    monkeypatch.setattr(process, "run", systemctl)
    monkeypatch.setattr(timer, "UNITS", tmp_path / "system")
    monkeypatch.setattr(timer, "RUNNING", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


def test_timer_is_written_and_started(stack: Stack, systemd: list[str]) -> None:
    ended = stack.run("backup", "--install-timer", "--json")

    assert ended.code == 0 and systemd == ["daemon-reload", "enable --now " + ended.result["timer"]]
    service, schedule = (read((timer.UNITS / name).read_text()) for name in ended.result["units"])
    assert service["Service"]["WorkingDirectory"] == str(stack.root)
    assert service["Service"]["ExecStart"].startswith(f"{stack.root}/stackctl ")
    assert service["Service"]["ExecStart"].endswith(" backup --scheduled")
    assert schedule["Timer"]["Persistent"] == "true"
    assert "BACKUP_TO is not set" in ended.err and "BACKUP_KEEP=14" in ended.err


def test_timer_needs_root_and_systemd(
    stack: Stack, systemd: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = stack.run("backup", "--install-timer", "--json")
    assert refused.code == 1 and refused.result["next"].startswith("sudo ./stackctl backup")

    monkeypatch.setattr(timer, "RUNNING", tmp_path / "missing")
    refused = stack.run("backup", "--install-timer", "--json")
    assert refused.code == 1 and "systemd does not run" in refused.result["error"]
    assert "./stackctl backup --scheduled" in refused.result["next"] and not systemd


def test_timer_is_refused_for_a_folder_that_units_misread(
    stack: Stack, systemd: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(timer.StackctlError, match="characters"):
        timer.units("mysite", "local", "me", "/srv/my site")
