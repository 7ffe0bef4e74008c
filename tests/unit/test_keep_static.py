"""Static files of earlier releases: kept whole, marked, and removed in the end."""

import importlib.util
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

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


def test_servers_that_start_at_once_do_not_disturb_each_other(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: script.keep(release, shared), range(32)))

    assert names(shared) == {"a.0123456789ab.css", "a.0123456789ab.css.br"}


def test_what_is_in_use_stays_and_what_is_not_goes(
    script: ModuleType, release: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)
    old, used = shared / "old.0123456789ab.js", shared / "api" / "a.0123456789ab.css"
    old.write_text("old")
    for path in (old, used):
        os.utime(path, (time.time() - 31 * DAY,) * 2)

    script.keep(release, shared)
    script.remove_unused(shared, 30)

    assert not old.exists()
    assert used.exists()


def test_one_that_another_server_removes_meanwhile_is_brought_again(
    script: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    script.keep(release, shared)
    mark = os.utime

    def after_its_removal(path: Path) -> None:
        path.unlink()
        mark(path)

    monkeypatch.setattr(script.os, "utime", after_its_removal)
    script.keep(release, shared)

    assert names(shared) == {"a.0123456789ab.css", "a.0123456789ab.css.br"}


def test_servers_that_remove_at_once_do_not_disturb_each_other(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.0123456789ab.js"
    old.write_text("old")
    os.utime(old, (0, 0))
    look = Path.is_file

    def and_then_gone(path: Path) -> bool:
        found = look(path)
        path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", and_then_gone)
    script.remove_unused(tmp_path, 30)

    assert not old.exists()


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
