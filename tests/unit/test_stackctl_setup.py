"""`stackctl setup` with a scripted ssh client.

tests/stack/stackctl/test_setup.py prepares a server.
"""

import io
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.program import Ended, run_stackctl
from tools.stackctl.over_ssh.setup import SCRIPT

CLIENT = """#!/bin/sh
cd {folder}
echo "$*" >>calls
case "$*" in
    *"-O exit"*) exit ;;
    *" setup plan "*) step=plan ;;
    *) step=apply ;;
esac
cat >$step-input
cat $step-output
[ ! -e $step-fails ] || {{ cat $step-fails >&2; exit 1; }}
"""
PLAN = "= git is installed\n+ install docker\n+ create the user mysite\n"
LOGIN = "ann@www.example.com"


class Server:
    """A server, as its ssh client shows it."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Begin with a server that lacks two things."""
        self.folder = folder
        self.run_stackctl = partial(run_stackctl, capfd)
        self.prints("plan", PLAN)
        self.prints("apply", "installing docker\n")
        (folder / "ssh").write_text(CLIENT.format(folder=folder))
        (folder / "ssh").chmod(0o755)

    def prints(self, step: str, text: str) -> None:
        """Set the output of a step."""
        (self.folder / f"{step}-output").write_text(text)

    def fails(self, step: str, text: str) -> None:
        """Let a step fail with these errors."""
        (self.folder / f"{step}-fails").write_text(text)

    def setup(self, *options: str) -> Ended:
        """Run the command."""
        return self.run_stackctl("setup", LOGIN, "--json", *options)

    def calls(self, word: str) -> list[str]:
        """Return the calls of the client that contain a word."""
        file = self.folder / "calls"
        return [line for line in file.read_text().splitlines() if word in line]


@pytest.fixture
def server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Server:
    """Return a server; standard input is no terminal."""
    monkeypatch.setenv("GIT_SSH_COMMAND", str(tmp_path / "ssh"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return Server(tmp_path, capfd)


def terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Let a person type an answer."""
    stream = io.StringIO(typed)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stream)


def test_setup_makes_the_changes_that_it_has_shown(server: Server) -> None:
    ended = server.setup("--yes", "--user", "web", "--ports", "80 8443")

    assert ended.code == 0 and "+ install docker" in ended.err
    # Standard output has the result alone.
    assert ended.result["changes"] == ["install docker", "create the user mysite"]
    assert "installing docker" in ended.err
    for step in ("plan", "apply"):
        (call,) = server.calls(f" setup {step} ")
        assert "--user web --folder /srv/mysite --ports '80 8443'" in call
        assert (server.folder / f"{step}-input").read_text() == SCRIPT.read_text()
    assert "--host web@www.example.com env init" in ended.err
    (closed,) = server.calls("-O exit")
    assert closed.endswith(LOGIN)


def test_setup_of_a_prepared_server_changes_nothing(server: Server) -> None:
    server.prints("plan", "= git is installed\n")

    ended = server.setup()

    assert ended.code == 0 and ended.result["changes"] == []
    assert f"{LOGIN} has all that the stack needs" in ended.err and not server.calls(" apply ")


def test_dry_run_of_setup_changes_nothing(server: Server) -> None:
    ended = server.setup("--dry-run", "--yes")

    assert ended.code == 0 and len(ended.result["changes"]) == 2
    assert "2 changes; --dry-run" in ended.err and not server.calls(" apply ")


def test_setup_without_a_terminal_needs_yes(server: Server) -> None:
    ended = server.setup()

    assert ended.code == 1 and "not confirmed; nothing was changed" in ended.result["error"]
    assert ended.result["next"] == "Add --yes." and not server.calls(" apply ")


@pytest.mark.parametrize(
    ("typed", "agreed"),
    [("y\n", True), (" YES\n", True), ("n\n", False), ("\n", False), ("", False), ("yep\n", False)],
)
def test_setup_asks_before_the_changes(
    server: Server, monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool
) -> None:
    terminal(monkeypatch, typed)

    ended = server.setup()

    assert f"Do this on {LOGIN}?" in ended.err
    assert (ended.code == 0) == bool(server.calls(" apply ")) == agreed


def test_setup_that_ends_in_the_middle_says_so(server: Server) -> None:
    server.fails("apply", "E: no space left")

    ended = server.setup("--yes")

    assert ended.code == 1 and f"the setup of {LOGIN} did not complete" in ended.result["error"]
    assert "no space left" in ended.err and "Run it again" in ended.result["next"]


def test_user_whose_sudo_asks_for_a_password_gets_the_commands(server: Server) -> None:
    server.fails("plan", "a banner\nsudo: a password is required\n")

    ended = server.setup()

    assert ended.result["error"] == f"{LOGIN}: sudo: a password is required"
    assert f"ssh -t {LOGIN} sudo sh setup.sh apply" in ended.result["next"]
    assert "--ports '80 443'" in ended.result["next"]


def test_system_that_cannot_be_prepared_is_named(server: Server) -> None:
    server.fails("plan", "error: Debian 11 is too old\n")

    ended = server.setup("--yes")

    assert ended.code == 1 and ended.result["error"] == f"{LOGIN}: Debian 11 is too old"
    assert not server.calls(" apply ")


@pytest.mark.parametrize(
    ("host", "options"),
    [
        (f"{LOGIN}:/srv/a b", ()),
        (f"{LOGIN}:/srv/$(id)", ()),
        (LOGIN, ("--user", "Ann")),
        (LOGIN, ("--user", "a b")),
        (LOGIN, ("--ports", "80,443")),
        (LOGIN, ("--ports", "http")),
    ],
)
def test_what_the_server_would_read_as_something_else_is_wrong_usage(
    server: Server, host: str, options: tuple[str, ...]
) -> None:
    ended = server.run_stackctl("setup", host, "--yes", *options)

    assert ended.code == 2 and "It has to match" in ended.err
    assert not (server.folder / "calls").exists()
