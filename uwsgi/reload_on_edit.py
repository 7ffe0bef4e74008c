"""Reloads uWSGI when a module or translation is edited; imported by uWSGI on a laptop only.

uWSGI's own `py-autoreload` notes a file's time at its first look, a second after the start: an edit
before that is missed for good. Here the files are noted before any of them is imported.
https://uwsgi-docs.readthedocs.io/en/latest/PythonModule.html#uwsgi.add_timer
"""

from pathlib import Path

import uwsgi

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1
# Any number that no other signal of this uWSGI has.
SIGNAL = 17


def modification_times() -> dict[Path, int]:
    """Return when each module of a package of the project, and each translation, was changed."""
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    return {
        path: path.stat().st_mtime_ns
        for folder in (*packages, ROOT / "locale")
        for path in folder.rglob("*.p[yo]")
        if path.is_file()
    }


def reload_if_edited(signal: int) -> None:
    """Compare, and ask the master for a graceful reload."""
    if modification_times() != known:
        uwsgi.reload()


known = modification_times()
uwsgi.register_signal(SIGNAL, "worker1", reload_if_edited)
uwsgi.add_timer(SIGNAL, SECONDS)
