"""Static files of earlier releases are kept, and removed when unused."""

import importlib.util
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tree import ROOT

DAY = 86400


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Import the script, which is in no package."""
    spec = importlib.util.spec_from_file_location("keep_static", ROOT / "nginx" / "keep_static.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return the static files of a release, hashed and plain."""
    folder = tmp_path / "static" / "api"
    folder.mkdir(parents=True)
    for name in ("a.css", "a.0123456789ab.css", "a.0123456789ab.css.br", "staticfiles.json"):
        (folder / name).write_text(name)
    return tmp_path / "static"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_keep_static_copies_only_hashed_files(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)

    assert names(shared) == {"a.0123456789ab.css", "a.0123456789ab.css.br"}
    kept = shared / "api" / "a.0123456789ab.css"
    assert kept.read_text() == "a.0123456789ab.css"
    assert kept.stat().st_mode & 0o777 == 0o644


def test_keep_static_supports_two_servers_copying_at_once(
    script: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, both, copy = tmp_path / "shared", threading.Barrier(2), shutil.copyfileobj

    def when_both_have_opened_theirs(*files: Any) -> None:
        both.wait(30)
        copy(*files)

    monkeypatch.setattr(shutil, "copyfileobj", when_both_have_opened_theirs)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: script.keep(release, shared), range(2)))

    assert names(shared) == {"a.0123456789ab.css", "a.0123456789ab.css.br"}
    for path in (shared / "api").iterdir():
        assert path.read_text() == path.name


def test_keep_static_replaces_changed_content_of_a_hashed_file(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)
    target = shared / "api" / "a.0123456789ab.css"
    # With the same length and time.
    target.write_text("x" * len("a.0123456789ab.css"))
    source = (release / "api" / "a.0123456789ab.css").stat()
    os.utime(target, ns=(source.st_atime_ns, source.st_mtime_ns))

    script.keep(release, shared)

    assert target.read_text() == "a.0123456789ab.css"


def test_keep_static_never_exposes_a_partial_file(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    """Nginx serves the folder at the same time."""
    shared = tmp_path / "shared"
    target = shared / "api" / "a.0123456789ab.css"
    limits_before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits_before[1]))
    try:
        with pytest.raises(OSError):
            script.keep(release, shared)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits_before)
    assert not target.exists()

    target.write_text("of another release")
    with target.open() as reading:
        script.keep(release, shared)
        assert reading.read() == "of another release"
    assert target.read_text() == "a.0123456789ab.css"


def file_of_age(path: Path, days: int, text: str = "") -> Path:
    """Create a file with a modification time this many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_keep_static_removes_unused_files_and_keeps_recent_releases(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    name = "a.0123456789ab.css"
    used = file_of_age(shared / "api" / name, days=400, text=name)
    # The previous release, which ran until now, and some older ones.
    old_files = [file_of_age(shared / f"old.{n:012x}.js", days=31 + n) for n in range(3)]
    recent = [file_of_age(shared / f"recent.{n:012x}.js", days=n) for n in range(1, 5)]

    script.keep(release, shared)
    script.remove_unused(shared, 30, 7)
    assert all(path.exists() for path in (used, *recent, *old_files[:2]))
    assert not old_files[2].exists()

    script.remove_unused(shared, 30, 2)
    assert all(path.exists() for path in (used, *recent))
    assert not any(path.exists() for path in old_files)


def test_static_files_stay_for_thirty_days_or_ten_releases(
    script: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    monkeypatch.setattr(script, "SOURCE", release)
    monkeypatch.setattr(script, "SHARED", shared)
    # A file of an old release and of this one: visitors of both find it all the time.
    name = "a.0123456789ab.css"
    used = file_of_age(shared / "api" / name, days=400, text=name).stat().st_ino
    # Twelve releases of the last days.
    recent = [file_of_age(shared / f"recent.{n:012x}.js", days=29 - n) for n in range(12)]

    script.main()
    assert all(path.exists() for path in recent)
    assert (shared / "api" / name).stat().st_ino == used

    for path in recent:
        path.unlink()
    # With the present one, the first nine are the ten latest releases.
    old = [file_of_age(shared / f"old.{n:012x}.js", days=31 + n) for n in range(12)]
    script.main()
    assert [path.exists() for path in old] == [True] * 9 + [False] * 3


def test_static_file_that_another_run_has_removed_is_no_failure(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = file_of_age(tmp_path / "old.000000000000.js", days=90)
    files = [old, *(file_of_age(tmp_path / f"new.{n:012x}.js", days=n) for n in range(2))]
    rglob = Path.rglob

    def others_remove_meanwhile(folder: Path, pattern: str) -> Iterator[Path]:
        yield from rglob(folder, pattern)
        old.unlink()

    monkeypatch.setattr(Path, "rglob", others_remove_meanwhile)

    script.remove_unused(tmp_path, 30, 2)

    assert [path.exists() for path in files] == [False, True, True]


def test_keep_static_does_nothing_without_the_shared_folder(
    script: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SOURCE", release)
    monkeypatch.setattr(script, "SHARED", tmp_path / "shared")
    script.main()
    assert not (tmp_path / "shared").exists()

    (tmp_path / "shared").mkdir()
    script.main()
    assert names(tmp_path / "shared")
