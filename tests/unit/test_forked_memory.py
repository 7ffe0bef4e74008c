"""Workers share the memory of the process that they are forked from."""

import subprocess
import sys

from tests.tree import ROOT

# A worker's share after a full collection of garbage, which a busy one makes by itself.
WORKER = """
import gc, os, django
django.setup()
from django.urls import resolve
resolve("/")
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
gc.collect()
sizes = dict(line.split()[:2] for line in open("/proc/self/smaps_rollup") if "kB" in line)
print(int(sizes["Private_Dirty:"]) / int(sizes["Rss:"]))
"""


def test_collection_of_garbage_in_a_worker_copies_little_of_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "mysite.settings.test"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.35, done.stdout
