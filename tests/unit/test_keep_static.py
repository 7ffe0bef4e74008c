"""Static files of earlier releases: kept whole, marked, and removed in the end."""

import importlib.util
import os
import resource
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tree import ROOT

DAY = 86400


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, which is no module of the project's packages."""
    spec = importlib.util.spec_from_file_location("keep_static", ROOT / "nginx" / "keep_static.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release's static files, hashed and plain."""
    folder = tmp_path / "static" / "api"
    folder.mkdir(parents=True)
    for name in ("a.css", "a.0123456789ab.css", "a.0123456789ab.css.br", "staticfiles.json"):
        (folder / name).write_text(name)
    return tmp_path / "static"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_only_hashed_names_are_kept(script: ModuleType, release: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)

    assert names(shared) == {"a.0123456789ab.css", "a.0123456789ab.css.br"}
    kept = shared / "api" / "a.0123456789ab.css"
    assert kept.read_text() == "a.0123456789ab.css"
    assert kept.stat().st_mode & 0o777 == 0o644


def test_two_that_copy_the_same_file_at_once_do_not_disturb_each_other(
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


def test_another_content_under_a_hashed_name_is_replaced(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)
    target = shared / "api" / "a.0123456789ab.css"
    # Of the same length and time.
    target.write_text("x" * len("a.0123456789ab.css"))

    script.keep(release, shared)

    assert target.read_text() == "a.0123456789ab.css"


def test_a_file_is_never_seen_in_part(script: ModuleType, release: Path, tmp_path: Path) -> None:
    """Nginx serves the folder meanwhile."""
    shared = tmp_path / "shared"
    target = shared / "api" / "a.0123456789ab.css"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, usual[1]))
    try:
        with pytest.raises(OSError):
            script.keep(release, shared)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not target.exists()

    target.write_text("of another release")
    with target.open() as reading:
        script.keep(release, shared)
        assert reading.read() == "of another release"
    assert target.read_text() == "a.0123456789ab.css"


def marked(path: Path, days: int) -> Path:
    """Have a file marked so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_what_is_in_use_stays_and_what_is_not_goes(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    used = marked(shared / "api" / "a.0123456789ab.css", days=400)
    # The release before, which started long ago and runs until now, and some before it.
    olds = [marked(shared / f"old.{n:012x}.js", days=31 + n) for n in range(3)]
    recent = [marked(shared / f"recent.{n:012x}.js", days=n) for n in range(1, 5)]

    script.keep(release, shared)
    script.remove_unused(shared, 30, 7)
    assert all(path.exists() for path in (used, *recent, *olds[:2]))
    assert not olds[2].exists()

    script.remove_unused(shared, 30, 2)
    assert all(path.exists() for path in (used, *recent))
    assert not any(path.exists() for path in olds)


def test_without_the_shared_folder_there_is_nothing_to_do(
    script: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SOURCE", release)
    monkeypatch.setattr(script, "SHARED", tmp_path / "shared")
    script.main()
    assert not (tmp_path / "shared").exists()

    (tmp_path / "shared").mkdir()
    script.main()
    assert names(tmp_path / "shared")
