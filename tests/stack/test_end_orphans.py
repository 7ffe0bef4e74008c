"""supervisor/end-orphans ends processes whose master was killed."""

from pathlib import Path

import pytest

from tests.stack.bench import Bench
from tests.stack.compose import STACK_NAME, docker

# `docker run --init` reaps processes, as supervisord does. Each program is a `sleep` of that name.
PREPARE = """
for name in app other; do cp /bin/sleep /tmp/$name; done
orphan() { (trap -- "$2" TERM; exec "/tmp/$1" 600) & }
alive() { grep -ls "^Name:.$1$" /proc/[0-9]*/status | wc -l; }
wait_for() {
    for _ in $(seq 200); do [ "$(alive "$1")" != "$2" ] || return 0; sleep 0.1; done
    echo "$(alive "$1") of $1 are alive, not $2"; exit 0
}
seconds() { echo $(($(date +%s) - began)); }
began=$(date +%s)
"""


@pytest.fixture
def image(bench: Bench) -> str:
    """Return an image with the script."""
    return f"{STACK_NAME}-base"


def run(image: str, tree: Path, script: str) -> list[str]:
    """Run a script next to orphans; return the lines that it prints."""
    return docker(
        *("run", "--rm", "--init", "--user", "0", "--volume", f"{tree}/supervisor:/supervisor:ro"),
        *("--entrypoint", "sh", image, "-c", PREPARE + script),
    ).splitlines()


def test_only_orphans_of_that_name_end(image: str, tree: Path) -> None:
    script = """
    (orphan app -); (orphan other -)
    sh -c '/tmp/app 601; true' &
    wait_for app 2; wait_for other 1
    /supervisor/end-orphans app TERM
    wait_for app 1
    [ "$(seconds)" -lt 4 ] && echo "soon"
    sleep 6
    alive app; alive other
    """

    assert run(image, tree, script) == ["soon", "1", "1"]


@pytest.mark.parametrize(("pool", "left"), [("slow", "0"), ("", "1")])
def test_orphans_of_the_other_pool_of_workers_are_left_alone(
    image: str, tree: Path, pool: str, left: str
) -> None:
    """Its living master is a child of PID 1 too."""
    script = f"""
    (orphan app -); (export APP_POOL=slow; orphan app -)
    wait_for app 2
    APP_POOL={pool} /supervisor/end-orphans app TERM
    wait_for app 1
    cd "$(dirname "$(grep -ls "^Name:.app$" /proc/[0-9]*/status)")"
    tr '\\0' '\\n' <environ | grep -c APP_POOL=slow || true
    """

    assert run(image, tree, script) == [left]


def test_orphan_that_ignores_the_signal_is_killed_after_five_seconds(
    image: str, tree: Path
) -> None:
    script = """
    (orphan app "")
    wait_for app 1
    began=$(date +%s)
    /supervisor/end-orphans app TERM
    [ "$(seconds)" -lt 3 ] && echo "returned at once"
    wait_for app 0
    [ "$(seconds)" -ge 4 ] && [ "$(seconds)" -le 15 ] && echo "killed"
    """

    assert run(image, tree, script) == ["returned at once", "killed"]


def test_orphans_serve_until_the_next_master_has_written_its_file(image: str, tree: Path) -> None:
    script = """
    (orphan app -)
    wait_for app 1
    : >/tmp/pid
    /supervisor/end-orphans app TERM /tmp/pid
    sleep 2
    alive app
    echo 7 >/tmp/pid
    began=$(date +%s)
    wait_for app 0
    [ "$(seconds)" -lt 4 ] && echo "ended"
    """

    assert run(image, tree, script) == ["1", "ended"]
