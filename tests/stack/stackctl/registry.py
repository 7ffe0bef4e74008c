"""Docker's own registry program on 127.0.0.1, to which the engine speaks http."""

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import eventually

PROGRAM = shutil.which("docker-registry") or shutil.which("registry")
HELP = "no registry program is installed. On Debian: apt-get install docker-registry"
needs_registry = pytest.mark.skipif(
    not (PROGRAM or os.environ.get("REQUIRE_STACK_TESTS")), reason=HELP
)


@contextmanager
def serving(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """Run a registry that keeps its images in a folder, and yield its address.

    Args:
        folder: for its files.
        htpasswd: the users who may sign in; without it, it asks for no password.
    """
    assert PROGRAM, HELP
    port = free_port()
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/images}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    )
    log = (folder / "log").open("wb")
    command = [PROGRAM, "serve", "config.yml"]
    with log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server:
        try:
            eventually(
                lambda: status(port) == (401 if htpasswd else 200),
                seconds=30,
                what="the registry answers",
            )
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def status(port: int) -> int:
    """Return the status of a request without a password; 0 while no answer comes."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0
