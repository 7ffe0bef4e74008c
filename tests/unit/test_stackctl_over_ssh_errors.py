"""What `--host` accepts, what ssh's errors mean, and what a server refuses."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.stackctl.common.faults import UsageError
from tools.stackctl.over_ssh import on_server
from tools.stackctl.over_ssh.connection import unreachable
from tools.stackctl.over_ssh.on_server import Refused
from tools.stackctl.over_ssh.target import parse


@pytest.mark.parametrize(
    ("text", "login", "repository", "shown"),
    [
        ("www", "www", "www:/srv/mysite", "www"),
        ("ann@www", "ann@www", "ann@www:/srv/mysite", "ann@www"),
        ("ann@www:/srv/shop/", "ann@www", "ann@www:/srv/shop", "ann@www:/srv/shop"),
        ("ann@www:/srv/mysite", "ann@www", "ann@www:/srv/mysite", "ann@www"),
        ("www:/", "www", "www:/", "www:/"),
        # ssh takes the address bare, git in brackets.
        ("ann@[2001:db8::1]", "ann@2001:db8::1", "ann@[2001:db8::1]:/srv/mysite", None),
        ("[fe80::1%eth0]:/srv/x", "fe80::1%eth0", "[fe80::1%eth0]:/srv/x", None),
    ],
)
def test_server_is_named_as_ssh_git_and_people_name_it(
    text: str, login: str, repository: str, shown: str | None
) -> None:
    target = parse(text)

    assert (target.login, target.repository) == (login, repository)
    assert target.text == (shown or text)


@pytest.mark.parametrize("text", ["", "-v", "-v@www", "a b", "ann@", "www:", "www:~/x", "[::1"])
def test_what_names_no_server_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ("ssh: Could not resolve hostname www: x", "Could not resolve", "Is the name right?"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "Host key verification failed.",
            "Do not connect before you know why",
        ),
        ("Host key verification failed.\r\n", "Host key verification failed.", "Connect once"),
        ("ann@www: Permission denied (publickey).", "Permission denied", "ssh-add -l"),
        ("ssh: connect to host www port 22: Connection refused", "refused", "Does sshd run"),
        ("ssh: connect to host www port 22: Connection timed out", "timed out", "firewall"),
        ("ssh: connect to host www port 22: No route to host", "No route", "network"),
        ("something new", "something new", "Try it by hand: ssh ann@www"),
        ("", "no reason", "Try it by hand: ssh ann@www"),
    ],
)
def test_error_of_ssh_says_what_and_the_next_step(words: str, problem: str, hint: str) -> None:
    error = unreachable(parse("ann@www"), words)

    assert error.problem.startswith("ann@www is not reached over ssh: ")
    assert problem in error.problem and hint in error.hint


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone on the server, in which a working docker client is first in PATH."""
    clone, programs = tmp_path / "srv", tmp_path / "bin"
    subprocess.run(["git", "init", "--quiet", clone], check=True)
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\n")
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    commit(clone)
    return clone


def commit(clone: Path) -> None:
    """Commit a README."""
    (clone / "README").write_text("one")
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for words in (("add", "README"), (*identity, "commit", "--quiet", "--message", "one")):
        subprocess.run(["git", "-C", str(clone), *words], check=True)


def order(clone: Path, command: str, **facts: object) -> dict[str, Any]:
    """Return an order of the client."""
    return {
        **{"do": "run", "folder": str(clone), "subfolder": "", "command": command},
        **{"arguments": [command], "deploys": command == "deploy", "commit": "", "who": "ann@pc"},
        **{"diverged": False, "here": "./stackctl --host www", "setup": "prepare", **facts},
    }


@pytest.mark.parametrize("command", ["apply", "deploy", "up"])
def test_command_that_starts_a_site_is_refused_without_a_dotenv(clone: Path, command: str) -> None:
    """It would be the local layer, with DEBUG and known passwords."""
    with pytest.raises(Refused, match=r"there is no \.env") as raised:
        on_server.check(order(clone, command))
    assert "--host www env init --layer production" in raised.value.hint

    (clone / ".env").touch()
    on_server.check(order(clone, command))


def test_other_commands_need_neither_a_dotenv_nor_docker(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = clone.parent / "only-git"
    only.mkdir()
    git = subprocess.run(["which", "git"], check=True, capture_output=True, text=True)
    (only / "git").symlink_to(git.stdout.strip())
    monkeypatch.setenv("PATH", str(only))

    on_server.check(order(clone, "status"))
    with pytest.raises(Refused, match="Docker is missing there"):
        on_server.check(order(clone, "up"))

    (only / "git").unlink()
    with pytest.raises(Refused, match="git is missing there") as raised:
        on_server.check(order(clone, "status"))
    assert raised.value.hint == "prepare"


def test_dotenv_of_a_project_in_a_subfolder_counts(clone: Path) -> None:
    (clone / "shop").mkdir()
    (clone / ".env").touch()

    with pytest.raises(Refused, match=r"there is no \.env"):
        on_server.check(order(clone, "up", subfolder="shop"))

    (clone / "shop/.env").touch()
    on_server.check(order(clone, "up", subfolder="shop"))


def test_new_files_on_the_server_are_no_edits(clone: Path) -> None:
    """Such as those of backups/ and var/; only a changed file would be lost."""
    for name in (".env", "notes"):
        (clone / name).touch()
    on_server.check(order(clone, "deploy"))

    (clone / "README").write_text("edited there")
    with pytest.raises(Refused, match=r"(?s)changes that no commit has:.* M README"):
        on_server.check(order(clone, "deploy"))
    # Without a deploy nothing is checked out.
    on_server.check(order(clone, "up"))


def test_folder_that_is_no_clone_is_refused(clone: Path) -> None:
    (clone / ".git").rename(clone / "not-git")

    with pytest.raises(Refused, match="is not a git clone that this user may use"):
        on_server.check(order(clone, "status"))


STACKCTL = """#!/bin/sh
echo "in $(pwd) for $STACKCTL_WHO: $*"
[ "$1" != killed ] || kill -9 $$
"""


def on_the_server(order: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the program as the client does."""
    return subprocess.run(
        [sys.executable, on_server.__file__, json.dumps(order)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_command_runs_in_the_subfolder_of_the_project(clone: Path) -> None:
    (clone / "shop").mkdir()
    (clone / "shop/stackctl").write_text(STACKCTL)
    (clone / "shop/stackctl").chmod(0o755)

    ended = on_the_server(order(clone, "status", subfolder="shop"))
    assert ended.stdout == f"in {clone}/shop for ann@pc: status\n" and ended.returncode == 0

    killed = on_the_server(order(clone, "killed", subfolder="shop"))
    assert killed.returncode == 128 + 9


def test_clone_of_another_project_is_named(clone: Path) -> None:
    ended = on_the_server(order(clone, "status"))

    assert ended.returncode == 1
    assert ended.stderr == f"error: {clone} has no stackctl: is it another project's clone?\n"


@pytest.fixture
def default_interrupt() -> Iterator[None]:
    """Let programs be interrupted, also where the tests run in the background of a script."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("default_interrupt")
@pytest.mark.parametrize("option", ["--watch", "--follow", "-f"])
def test_command_that_only_an_interrupt_ends_ends_with_its_client(clone: Path, option: str) -> None:
    (clone / "stackctl").write_text("#!/bin/sh\nexec sleep 60\n")
    (clone / "stackctl").chmod(0o755)

    # The client is gone: the program's input has ended.
    ended = on_the_server(order(clone, "status", arguments=["status", option]))

    assert ended.returncode == 128 + signal.SIGINT


def test_lock_of_the_clone_names_only_its_present_holder(clone: Path) -> None:
    (clone / "stackctl").write_text(STACKCTL)
    (clone / "stackctl").chmod(0o755)
    for who in ("ann@pc", "bo@pc"):
        assert on_the_server(order(clone, "env", commit="HEAD", who=who)).returncode == 0

    lock = (clone / ".git" / on_server.LOCK).read_text()
    assert lock.startswith("`stackctl --host` of bo@pc uses this clone since") and "ann" not in lock


def test_clone_of_another_user_is_refused(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("/.git"))

    with pytest.raises(Refused, match="this user may not write") as raised:
        on_server.check(order(clone, "status"))
    assert f"chown --recursive $USER {clone}" in raised.value.hint
