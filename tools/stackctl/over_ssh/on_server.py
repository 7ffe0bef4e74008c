"""What runs on the server: sent over ssh, so that the clone there may be empty or of any version.

It needs git, Docker and Python's standard library. `check` changes nothing; `run` checks out a
commit, and runs the clone's own stackctl until its end, also when the connection is lost.

Whatever the server lacks is raised as Refused, with the next step; `main` alone catches it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

OLDEST_PYTHON = (3, 11)
# What the client sends for a Ctrl-C.
INTERRUPT = b"interrupt\n"
# Commands that start the site, for which a missing `.env` would mean the local layer.
STARTS = ("apply", "deploy", "up")
# Options of commands that only a Ctrl-C ends.
ENDLESS = {"--watch", "--follow", "-f"}
LOCK = "stackctl.lock"
Order = Mapping[str, Any]


class Refused(Exception):  # noqa: N818 (no error of this program)
    """The server cannot run the command."""

    def __init__(self, problem: str, hint: str = "") -> None:
        """Keep what is wrong and the next step apart."""
        super().__init__(problem)
        self.problem, self.hint = problem, hint


def main(order: Order) -> int:
    """Do what the client ordered, and return the exit code; what is refused is printed, and is 1.

    Args:
        order: `do` (check or run), the clone's `folder`, the stack's `subfolder` in it, stackctl's
            `command` and all its `arguments`, whether it `deploys`, the `commit` to check out or
            nothing, whether that may lack commits that are checked out (`diverged`), `who` ordered
            it, and how the client runs a command there (`here`) and prepares the server (`setup`).
    """
    try:
        check(order)
        if order["do"] == "check":
            print(git("rev-parse", "--verify", "--quiet", "HEAD", fails="") or "empty")
            return 0
        return run(order)
    except Refused as refused:
        if "--json" in order["arguments"]:
            print(json.dumps({"error": refused.problem, "next": refused.hint, "code": 1}))
        lines = [f"error: {refused.problem}", *(f"    {line}" for line in refused.hint.split("\n"))]
        print("\n".join(line for line in lines if line.strip()), file=sys.stderr)
        return 1


def check(order: Order) -> None:
    """Check what the command needs."""
    folder, version = order["folder"], sys.version_info
    if version < OLDEST_PYTHON:
        raise Refused(
            "its Python {}.{} is too old: 3.11 or newer is needed".format(*version),
            "Debian 12, Ubuntu 24.04 and newer ones have it.",
        )
    if not shutil.which("git"):
        raise Refused("git is missing there", order["setup"])
    if not Path(folder).is_dir():
        hint = f"{order['setup']}\nIs the clone elsewhere? --host USER@SERVER:/ITS/FOLDER"
        raise Refused(f"it has no folder {folder}", hint)
    os.chdir(folder)
    git("rev-parse", "--git-dir", fails=f"{folder} is not a git clone that this user may use")
    if not os.access(git_folder(), os.W_OK):
        owner = f"sudo chown --recursive $USER {folder}"
        raise Refused(f"this user may not write to {folder}", f"Its owner may, or: {owner}")
    check_start(order)


def check_start(order: Order) -> None:
    """Check what the start of a site also needs."""
    if order["command"] not in STARTS:
        return
    if not shutil.which("docker"):
        raise Refused("Docker is missing there", order["setup"])
    docker("version", "--format", "{{.Server.Version}}")
    if order["deploys"]:
        edits = git("status", "--porcelain", "--untracked-files=no")
        if edits:
            raise Refused(
                f"the clone there has changes that no commit has:\n{edits}",
                f"In {order['folder']}, keep them by `git stash`, or drop them by "
                "`git checkout -- FILE`.",
            )
    if not Path(order["subfolder"], ".env").exists() and not empty():
        raise Refused(
            "there is no .env, so this would be the local layer",
            f"Write one, with fresh secrets: {order['here']} env init --layer production\n"
            f"Then fill in the lines that it names, in {order['folder']}/.env on the server.",
        )


def run(order: Order) -> int:
    """Check out the commit, run stackctl, and return its exit code; 128 and more after a signal."""
    with Path(git_folder(), LOCK).open("a+") as lock:
        if order["commit"]:
            hold(lock, order)
            check_out(order)
            # Of a clone that was empty, only now.
            check_start(order)
        os.chdir(order["subfolder"] or ".")
        if not os.access("stackctl", os.X_OK):
            raise Refused(f"{Path.cwd()} has no stackctl: is it another project's clone?")
        # In a session of its own: it outlives this program, and with it the lock that it inherits.
        child = subprocess.Popen(  # noqa: S603 (no shell)
            ["./stackctl", *order["arguments"]],
            env={**os.environ, "STACKCTL_WHO": order["who"]},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        threading.Thread(target=attend, args=(child, order), daemon=True).start()
        code = child.wait()
        return code if code >= 0 else 128 - code


def attend(child: subprocess.Popen[bytes], order: Order) -> None:
    """Pass on each Ctrl-C. Without the client the command continues, unless it would never end."""
    # Unbuffered: Python aborts where a thread is inside sys.stdin while it ends.
    for _ in iter(lambda: os.read(0, len(INTERRUPT)), b""):
        interrupt(child)
    if ENDLESS & set(order["arguments"]):
        interrupt(child)


def interrupt(child: subprocess.Popen[bytes]) -> None:
    """Interrupt a command as a terminal does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)


def hold(lock: IO[str], order: Order) -> None:
    """Lock the clone: no other client may check out a commit while a command uses this one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise Refused(lock.read().strip(), wait(order)) from None
    lock.truncate(0)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lock.write(f"`stackctl --host` of {order['who']} uses this clone since {since}")
    lock.flush()
    if not empty():
        require_free_stack(order)


def require_free_stack(order: Order) -> None:
    """Check that no command that was started on the server uses the clone."""
    label = "com.docker.compose.project"
    rule = f"label={label}.working_dir={Path(order['folder'], order['subfolder'])}"
    form = f'{{{{.Label "{label}"}}}}'
    projects = set(docker("ps", "--all", "--filter", rule, "--format", form).split())
    form = '{{.Names}}\t`stackctl {{.Label "stackctl.command"}}` of {{.Label "stackctl.who"}}'
    for line in docker("ps", "--filter", "label=stackctl.command", "--format", form).splitlines():
        name, command = line.split("\t")
        if name.removesuffix("-stackctl") in projects:
            raise Refused(f"{command} is running there", wait(order))


def wait(order: Order) -> str:
    """Return the next step while another command runs."""
    return f"Wait until it has ended; `{order['here']} status` shows what it does."


def check_out(order: Order) -> None:
    """Check out the commit, unless the present one has commits that it lacks."""
    commit = order["commit"]
    if not (order["diverged"] or empty()):
        lacks = git("log", "--oneline", "--max-count=5", "HEAD", "--not", commit)
        if lacks:
            raise Refused(
                f"the clone there is at commits that yours lacks:\n{lacks}",
                "Merge them first (git pull). To deploy without them, write --allow-diverged "
                "before the command.",
            )
    git("checkout", "--quiet", commit, fails="git cannot check out the commit")


def empty() -> bool:
    """Return whether the clone has no commit yet."""
    return not git("rev-parse", "--verify", "--quiet", "HEAD", fails="")


def git_folder() -> str:
    """Return the folder of the clone's objects."""
    return git("rev-parse", "--absolute-git-dir")


def git(*arguments: str, fails: str | None = None) -> str:
    """Return what git prints.

    Args:
        arguments: its arguments.
        fails: what a failure means, for the message; empty: nothing, and the answer is empty too.
    """
    done = called("git", *arguments)
    if done.returncode and fails != "":
        raise Refused(f"{fails or 'git ' + arguments[0]}: {done.stderr.strip()[:500]}")
    return "" if done.returncode else done.stdout.rstrip()


def docker(*arguments: str) -> str:
    """Return what the docker client prints."""
    done = called("docker", *arguments)
    if not done.returncode:
        return done.stdout
    if "permission denied" in done.stderr.lower():
        raise Refused(
            "this user may not use Docker (permission denied)",
            "sudo usermod --append --groups docker USER, then again. That group is as good as "
            "root.",
        )
    raise Refused(
        f"Docker does not answer: {done.stderr.strip()[:500]}", "sudo systemctl start docker"
    )


def called(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(  # noqa: S603 (no shell)
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
