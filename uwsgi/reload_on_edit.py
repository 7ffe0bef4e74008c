"""Reloads uWSGI when a module or translation is edited, and lets a debugger attach.

uWSGI imports it on a laptop only.

uWSGI's own `py-autoreload` notes a file's time at its first look, a second after the start: an edit
before that is missed for good. Here the files are noted before any of them is imported.
https://uwsgi-docs.readthedocs.io/en/latest/PythonModule.html#uwsgi.add_timer
"""

import os
import sys
from pathlib import Path

import uwsgi

ROOT = Path(__file__).resolve().parent.parent
# The project's code, where that is in another folder.
ROOTS = {ROOT, Path(os.environ.get("SOURCE_ROOT") or ROOT)}
SECONDS = 1
# Any number that no other signal of this uWSGI has.
SIGNAL = 17


def modification_times() -> dict[Path, int]:
    """Return when each module of a package of the project, and each translation, was changed."""
    packages = [path.parent for root in ROOTS for path in root.glob("*/__init__.py")]
    return {
        path: path.stat().st_mtime_ns
        for folder in (*packages, *(root / "locale" for root in ROOTS))
        for path in folder.rglob("*.p[yo]")
        if path.is_file()
    }


def reload_if_edited(signal: int) -> None:
    """Compare, and ask the master for a graceful reload."""
    if modification_times() != known:
        uwsgi.reload()


def listen_for_debugger() -> None:
    """Let a debugger attach to the first worker, since one process alone can have the port."""
    if uwsgi.worker_id() != 1:
        return
    import debugpy

    # uWSGI calls itself the executable; debugpy starts a process with this.
    debugpy.configure(python=str(Path(sys.prefix, "bin", "python")))
    # In a container, which has this variable, all its addresses: docker publishes one on the host.
    address = "0.0.0.0" if "UWSGI_SHARED_PY_IMPORT" in os.environ else "127.0.0.1"  # noqa: S104
    debugpy.listen((address, int(os.environ["DEBUGGER_PORT"])))


if os.environ.get("DEBUGGER_PORT"):
    uwsgi.post_fork_hook = listen_for_debugger
known = modification_times()
uwsgi.register_signal(SIGNAL, "worker1", reload_if_edited)
uwsgi.add_timer(SIGNAL, SECONDS)
