"""`stackctl --host`: a real sshd and git, and a clone whose stackctl and docker are scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests import sshd
from tests.documents import run_documented
from tests.program import Ended, run_stackctl
from tests.waiting import eventually
from tools.stackctl.common import process
from tools.stackctl.over_ssh import on_server

pytestmark = pytest.mark.skipif(
    not (sshd.PROGRAM or os.environ.get("REQUIRE_STACK_TESTS")), reason=sshd.HELP
)
ROOT = Path(__file__).resolve().parents[2]
# Prints what it was given; waits at the gate, if there is one.
STACKCTL = """#!/bin/sh
trap 'echo interrupted there; exit 130' INT
echo "ran $* at $(git rev-parse --short=12 HEAD) for $STACKCTL_WHO"
echo progress >&2
case "$1" in exec | shell | dbshell) exec cat ;; esac
touch var-began
n=0; while [ -e gate ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done
touch var-ended
exit "$(cat var-code 2>/dev/null || echo 0)"
"""
DOCKER = """#!/bin/sh
[ ! -e {folder}/docker-fault ] || { cat {folder}/docker-fault >&2; exit 1; }
case "$*" in
    "ps --all"*) echo shop-production ;;
    "ps --filter"*) cat {folder}/locks 2>/dev/null ;;
esac
exit 0
"""
LIMIT = 30


@dataclass
class Server:
    """The server with its clone, and the clone of a person."""

    ssh: sshd.Sshd
    folder: Path
    clone: Path
    here: Path
    run: Callable[..., Ended]

    @property
    def host(self) -> str:
        """Return it as --host takes it."""
        return f"server:{self.clone}"

    def commit(self, text: str) -> str:
        """Commit a change here, and return the commit's short hash."""
        (self.here / "README").write_text(text)
        git(self.here, "add", "--all")
        git(self.here, "commit", "--quiet", "--message", text)
        return self.head(self.here)

    def head(self, clone: Path | None = None) -> str:
        """Return the commit that a clone has checked out."""
        return git(clone or self.clone, "rev-parse", "--short=12", "HEAD")

    def __call__(self, *arguments: str) -> Ended:
        """Run a command over ssh."""
        return self.run("--host", self.host, *arguments)


def git(clone: Path, *arguments: str) -> str:
    """Run git in a clone, and return what it prints."""
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    return subprocess.run(
        ["git", "-C", str(clone), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Server]:
    """Run a server with an empty clone; the person's clone has one commit."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER.replace("{folder}", str(tmp_path)))
    (programs / "docker").chmod(0o755)
    # A shim of pyenv takes eight times as long.
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    here, clone = tmp_path / "here", tmp_path / "the clone"
    for folder in (here, clone):
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    (here / "stackctl").write_text(STACKCTL)
    (here / "stackctl").chmod(0o755)
    (here / ".gitignore").write_text(".env\nvar-*\ngate\n")
    (clone / ".env").touch()
    monkeypatch.setattr(process, "ROOT", here)

    with sshd.running(tmp_path, f"{programs}:{os.environ['PATH']}") as ssh:
        monkeypatch.setenv("GIT_SSH_COMMAND", ssh.client)
        server = Server(ssh, tmp_path, clone, here, partial(run_stackctl, capfd))
        server.commit("one")
        yield server


@pytest.fixture
def in_progress(server: Server) -> Iterator[subprocess.Popen[str]]:
    """Begin a deploy that waits at the gate."""
    (server.clone / "gate").touch()
    script = (
        "import sys, pathlib; from tools.stackctl import cli; "
        "from tools.stackctl.common import process; "
        "process.ROOT = pathlib.Path(sys.argv[1]); cli.main(sys.argv[2:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(server.here), "--host", server.host, "deploy"],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        eventually((server.clone / "var-began").exists, seconds=LIMIT, what="it runs there")
        yield client
        (server.clone / "gate").unlink(missing_ok=True)
        client.kill()


def test_deploy_pushes_the_commit_and_runs_stackctl_of_the_server_with_it(server: Server) -> None:
    ended = server("deploy", "--release", "v 1")

    assert ended.code == 0, ended.err
    ran, _, who = ended.out.strip().partition(" for ")
    assert ran == f"ran deploy --release v 1 at {server.head(server.here)}"
    assert "@" in who
    assert "progress" in ended.err and "pushing" in ended.err


def test_exit_code_of_the_server_is_passed_on(server: Server) -> None:
    (server.clone / "var-code").write_text("3")

    assert server("deploy").code == 3


def test_other_commands_run_the_commit_that_is_checked_out(server: Server) -> None:
    first = server.head(server.here)
    server("deploy")
    server.commit("two")

    ended = server.run("--host", server.host, "-p", "other", "status", "--watch")

    assert ended.code == 0
    assert f"ran --project-name other status --watch at {first} " in ended.out


@pytest.mark.parametrize("command", ["exec", "shell", "dbshell"])
def test_interactive_commands_read_what_is_typed_here(server: Server, command: str) -> None:
    assert "is empty" in server(command).err
    server("deploy")
    (server.folder / "typed").write_text("print(1)\n")
    with (server.folder / "typed").open() as typed:
        present = os.dup(0)
        os.dup2(typed.fileno(), 0)
        try:
            ended = server(command, "server", "-c", "print(2) ")
        finally:
            os.dup2(present, 0)
            os.close(present)

    assert ended.code == 0 and f"ran {command} server -c print(2) " in ended.out
    assert ended.out.endswith("print(1)\n")


def test_an_empty_clone_receives_the_commit_with_any_command(server: Server) -> None:
    (server.clone / ".env").unlink()
    (server.folder / "docker-fault").write_text("not there yet")

    ended = server("env", "init", "--layer", "production")

    assert f"ran env init --layer production at {server.head(server.here)}" in ended.out


def test_uncommitted_changes_stay_here_with_a_warning(server: Server) -> None:
    (server.here / "README").write_text("unfinished")

    ended = server("deploy")

    assert ended.code == 0 and "README" in ended.err and "stay here" in ended.err
    assert (server.clone / "README").read_text() == "one"


def test_deploy_without_commits_of_the_server_is_refused_unless_allowed(server: Server) -> None:
    first = server.head(server.here)
    newest = server.commit("of a colleague")
    server("deploy")
    git(server.here, "reset", "--quiet", "--hard", first)
    server.commit("mine")

    ended = server("deploy", "--json")
    assert ended.code == 1 and server.head() == newest
    assert f"{newest[:7]} of a colleague" in json.loads(ended.out)["error"]
    assert "git pull" in ended.err and "--allow-diverged" in ended.err

    assert server("--allow-diverged", "deploy").code == 0
    assert server.head() == server.head(server.here)


def test_local_edits_on_the_server_are_kept_and_named(server: Server) -> None:
    server("deploy")
    (server.clone / "README").write_text("edited there")

    ended = server("deploy", "--json")

    assert ended.code == 1 and " M README" in ended.err and "git stash" in ended.err
    assert " M README" in json.loads(ended.out)["error"]
    assert (server.clone / "README").read_text() == "edited there"


def test_deploy_without_a_dotenv_on_the_server_is_refused(server: Server) -> None:
    (server.clone / ".env").unlink()

    ended = server("deploy")

    assert ended.code == 1 and f"--host {server.host} env init --layer production" in ended.err
    # The empty clone received the commit, so that `env init` can run.
    assert server.head() == server.head(server.here)
    assert server("env", "init").code == 0


def test_second_deploy_is_refused_while_the_first_runs(
    server: Server, in_progress: subprocess.Popen[str]
) -> None:
    before = server.head()
    server.commit("two")

    ended = server("deploy")

    assert ended.code == 1 and "uses this clone since" in ended.err and "status" in ended.err
    assert server.head() == before


def test_deploy_is_refused_while_a_command_of_the_server_holds_the_lock(server: Server) -> None:
    server("deploy")
    (server.folder / "locks").write_text("shop-production-stackctl\t`stackctl backup` of bo@srv\n")

    ended = server("deploy")

    assert ended.code == 1 and "`stackctl backup` of bo@srv is running there" in ended.err
    # Of another stack of that server.
    (server.folder / "locks").write_text("other-production-stackctl\t`stackctl backup` of bo@srv\n")
    assert server("deploy").code == 0


def test_shallow_clone_names_the_command_that_completes_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.commit("two")
    shallow = server.folder / "shallow"
    clone = ["git", "clone", "--quiet", "--depth=1", server.here.as_uri(), str(shallow)]
    subprocess.run(clone, check=True)
    monkeypatch.setattr(process, "ROOT", shallow)

    ended = server("deploy")

    assert ended.code == 1 and "git fetch --unshallow" in ended.err


def test_no_connection_stays_after_a_command(server: Server) -> None:
    assert server("deploy").code == 0

    eventually(lambda: not server.ssh.sessions(), seconds=LIMIT, what="the connection is closed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_reaches_the_command_on_the_server(
    server: Server, in_progress: subprocess.Popen[str], number: signal.Signals
) -> None:
    # As a terminal does: ssh is not to end by it.
    os.killpg(in_progress.pid, number)
    out, err = in_progress.communicate(timeout=LIMIT)

    assert in_progress.returncode == 130
    assert "interrupted there" in out and "passing the interrupt on" in err


def test_command_goes_on_when_the_connection_is_lost(
    server: Server, in_progress: subprocess.Popen[str]
) -> None:
    server.ssh.cut_connections()
    _, err = in_progress.communicate(timeout=LIMIT)

    assert in_progress.returncode == 255
    assert "the command continues there" in err and f"--host {server.host} status" in err
    # Its lock is held until it ends, even without the program that passes signals on.
    pattern = f'"folder": "{server.clone}"'
    subprocess.run(["pkill", "-KILL", "--full", pattern], check=True)
    assert "uses this clone" in server("deploy").err
    (server.clone / "gate").unlink()
    eventually((server.clone / "var-ended").exists, seconds=LIMIT, what="it ends")
    eventually(lambda: server("deploy").code == 0, seconds=LIMIT, what="its lock is free")


def test_host_key_is_what_ssh_keyscan_prints(server: Server) -> None:
    changes = {"PORT": str(server.ssh.port), "HOST": "127.0.0.1"}
    command = "ssh-keyscan -p PORT -t ed25519 HOST"
    printed = run_documented(server.here, os.environ, command, changes)

    assert (server.folder / "known_hosts").read_text().rpartition(" ")[0] in printed


def test_unknown_host_key_is_refused(server: Server) -> None:
    server.ssh.forget_key()

    ended = server("deploy", "--json")

    assert ended.code == 1 and "compare the fingerprint" in ended.err
    assert "Host key verification failed" in json.loads(ended.out)["error"]


def test_key_that_the_server_does_not_accept_is_refused_with_a_next_step(server: Server) -> None:
    server.ssh.refuse_key()

    ended = server("deploy")

    assert ended.code == 1 and "Permission denied" in ended.err and "ssh-add -l" in ended.err


def test_server_that_does_not_answer_is_named(server: Server) -> None:
    server.ssh.process.terminate()
    server.ssh.process.wait()

    ended = server("status")

    assert ended.code == 1 and ended.out == ""
    assert "server is not reached" in ended.err and "Does sshd run there" in ended.err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("permission denied while trying to connect", "usermod --append --groups docker"),
        ("Cannot connect to the Docker daemon", "systemctl start docker"),
    ],
)
def test_docker_that_the_user_cannot_use_is_refused_before_the_push(
    server: Server, words: str, shown: str
) -> None:
    (server.folder / "docker-fault").write_text(words)

    ended = server("deploy")

    assert ended.code == 1 and shown in ended.err and "pushing" not in ended.err


def test_missing_folder_names_the_command_that_prepares_a_server(server: Server) -> None:
    ended = server.run("--host", "server:/srv/nothing", "deploy")

    assert ended.code == 1 and "no folder /srv/nothing" in ended.err
    assert "./stackctl setup server" in ended.err


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("ann@server:2222", "Port 2222"),
        ("server:srv/shop", "begins with /"),
        ("-oProxyCommand=x", "USER@SERVER"),
        ("ann@ server", "USER@SERVER"),
    ],
)
def test_wrong_host_is_wrong_usage(server: Server, host: str, shown: str) -> None:
    ended = server.run("--host", host, "status")

    assert ended.code == 2 and shown in ended.err


def test_server_without_python_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server.folder / "client-of-a-server-without"
    client.write_text("#!/bin/sh\necho sh: python3: not found >&2\nexit 127\n")
    client.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(client))

    ended = server("status")

    assert ended.code == 1 and "no python3" in ended.err and "./stackctl setup" in ended.err


def test_old_python_of_a_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_server.sys, "version_info", (3, 9, 2))

    with pytest.raises(on_server.Refused, match=r"Python 3\.9 is too old"):
        on_server.check({"folder": "/"})


def test_setup_is_a_command_of_this_machine(server: Server) -> None:
    ended = server("setup")

    assert ended.code == 2 and "./stackctl setup server" in ended.err
