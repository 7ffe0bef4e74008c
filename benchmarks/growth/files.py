"""More releases whose static files are kept (nginx/keep_static.py)."""

import json
from collections.abc import Callable

from benchmarks.growth.curve import Curve
from benchmarks.growth.visits import milliseconds_each, visit
from benchmarks.release import ReleaseStack

RELEASES = (1, 10, 100, 1_000)
NAMES = ("processor, to keep a release's files, ms", "processor, a request for an old file, ms")
# Runs in the service that may write the volume: adds releases of ten changed files each, as they
# are, by gzip and by brotli. All are younger than a month, so none is removed.
KEEP = """
import importlib.util, json, os, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("keep_static", "nginx/keep_static.py")
keep_static = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keep_static)
folder = keep_static.SHARED / "growth"
folder.mkdir(exist_ok=True)
for release in range(int(sys.argv[1])):
    marked = time.time() - 2_000_000 + release * 100
    for number in range(10):
        for end in ("", ".gz", ".br"):
            path = folder / f"{number}.{release:012x}.css{end}"
            if not path.exists():
                path.write_bytes(b"a" * 1000)
                os.utime(path, (marked, marked))
before = time.process_time()
keep_static.main()
print(json.dumps({"seconds": time.process_time() - before, "left": len(list(folder.iterdir()))}))
"""
OLDEST = "/static/growth/0.000000000000.css"


def measure(stack: ReleaseStack, say: Callable[[str], None]) -> Curve:
    """Keep a release's files next to each number of old releases, and ask for the oldest's.

    Raises:
        EngineError: a command failed.

    """
    points = []
    for number in RELEASES:
        output = stack.in_migrate("python", "-c", KEEP, str(number))
        kept = json.loads(output.splitlines()[-1])
        idle, busy = visit(stack, OLDEST, rate=0), visit(stack, OLDEST)
        figures = (kept["seconds"] * 1000, milliseconds_each(busy, idle))
        say(f"{number} old releases: {kept}, {figures}, {busy}")
        points.append((number, figures))
    return Curve("old releases", NAMES, tuple(points))
