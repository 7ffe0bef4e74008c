"""Values that stackctl writes into `.env`: the other lines, the file's rights and links stay."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import dotenv
from tools.stackctl.commands import dotenv_file
from tools.stackctl.common import process


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the path of `.env`."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    yield tmp_path / ".env"
    assert [path.name for path in tmp_path.iterdir() if path.name != "real"] == [".env"]


def test_dotenv_update_keeps_other_lines(env: Path) -> None:
    env.write_text("# A=comment\nA='old' # why\nexport B=1\nA=later\nexport D=old")

    dotenv_file.update({"A": "it's", "C": "new", "D": "2"})

    assert env.read_text() == '# A=comment\nA="it\'s"\nexport B=1\nD=2\nC=new\n'
    assert dict(dotenv.read(env).values) == {"A": "it's", "B": "1", "C": "new", "D": "2"}


def test_dotenv_update_creates_a_private_file(env: Path) -> None:
    dotenv_file.update({"A": "1"})

    assert env.read_text() == "A=1\n"
    assert env.stat().st_mode & 0o777 == 0o600


def test_dotenv_update_writes_through_a_link_and_keeps_the_file_on_a_full_disk(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = env.with_name("real")
    real.write_text("A=1\n")
    env.symlink_to(real)

    dotenv_file.update({"A": "2"})
    assert env.is_symlink() and real.read_text() == "A=2\n"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dotenv_file.update({"A": "3"})
    assert real.read_text() == "A=2\n"
