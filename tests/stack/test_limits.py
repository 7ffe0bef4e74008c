"""Memory and process limits of containers."""

import subprocess

import pytest

from tests.stack.compose import DB_ENGINE, Stack, docker
from tests.waiting import eventually

# Writes more memory than the limit; forks until the kernel refuses.
TAKE_MEMORY = "b'x' * (6 << 30)"
FORK = """import os, signal, time
count = 0
try:
    while count < 5000:
        if not os.fork():
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError:
    pass
print(count, flush=True)
time.sleep(3)
os.killpg(0, signal.SIGKILL)"""


def test_process_over_the_memory_limit_is_killed_without_its_container(production: Stack) -> None:
    before = production.inspect("server1", "{{.State.StartedAt}}")

    hog = ("exec", "-T", "server1", "python", "-c", TAKE_MEMORY)
    assert production.compose(*hog, check=False).returncode == 137

    production.wait_for_both()
    assert production.inspect("server1", "{{.State.StartedAt}}") == before


def test_fork_bomb_in_one_container_leaves_the_others_serving(production: Stack) -> None:
    command = ["docker", "exec", production.container("worker"), "python", "-c", FORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bomb:
        assert bomb.stdout is not None
        assert 100 < int(bomb.stdout.readline()) < 512
        assert {production.get("/profile/").status_code for _ in range(6)} == {200}
        assert docker("exec", production.container("server2"), "echo", "one more") == "one more"
    production.wait_for_both()
    # Its processes in the container are reaped.
    fork = ("worker", "sh", "-c", "(echo forked)")
    eventually(
        lambda: production.run_in(*fork, check=False) == "forked\n",
        seconds=30,
        what="the container can fork again",
    )


@pytest.mark.skipif(DB_ENGINE != "mysql", reason="the stack has no MySQL")
def test_mysql_takes_less_than_400_mib(production: Stack) -> None:
    """With MySQL's defaults it is 480 MiB from the start; in use its buffer pool fills up."""
    lines = production.run_in("db", "sh", "-c", "grep -h ^VmRSS: /proc/[0-9]*/status")
    kib = sum(int(line.split()[1]) for line in lines.splitlines())
    assert 100 * 1024 < kib < 400 * 1024
