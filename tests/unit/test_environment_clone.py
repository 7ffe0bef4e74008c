"""A stack belongs to one clone: env-check claims it, and refuses every other clone."""

from pathlib import Path

import pytest

from ops.environment import clone

MOUNTED = "1 2 0:1 {} /srv/clone ro,relatime - ext4 /dev/sda ro"


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the owner file in the volume of the stack, which is empty at first."""
    path = tmp_path / "owner"
    monkeypatch.setattr(clone, "OWNER", path)
    return path


def start_from(folder: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Run this part of env-check for a clone in this folder."""
    monkeypatch.setattr(clone, "folder", lambda _: folder)
    return clone.main()


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("/home/me/shop/haproxy", "/home/me/shop"),
        (r"/home/me/my\040shop/haproxy", "/home/me/my shop"),
        (r"/home/me/a\134040b\011c/haproxy", "/home/me/a\\040b\tc"),
        ("/haproxy", "/"),
    ],
)
def test_clone_folder_is_read_from_the_mounts(source: str, folder: str) -> None:
    others = ["", "3 4 0:5 /other /srv/clone/x ro - ext4 /dev/sda ro", "6 7 0:8 / / rw - overlay x"]

    assert clone.folder("\n".join([*others, MOUNTED.format(source), "9 1 0:2 /a /b rw"])) == folder
    assert clone.folder("\n".join(others)) == ""


def test_stack_without_an_owner_is_claimed_by_the_clone(
    owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start_from("/home/me/shop ü", monkeypatch) is None
    assert owner.read_text(encoding="utf-8") == "/home/me/shop ü\n"

    assert start_from("/home/me/shop ü", monkeypatch) is None


def test_stack_of_another_clone_is_refused_and_keeps_its_owner(
    owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.write_text("/home/me/shop\n")

    refusal = start_from("/home/me/copy", monkeypatch)

    assert refusal and refusal.startswith(
        "This stack belongs to the clone in /home/me/shop, and this one is in /home/me/copy."
    )
    for step in ("put another STACK_NAME", "./stackctl adopt", "docker compose up --detach"):
        assert step in refusal
    assert owner.read_text() == "/home/me/shop\n"


def test_stack_is_not_claimed_without_the_volume_or_the_mount(
    owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start_from("", monkeypatch) is None
    assert not owner.exists()

    monkeypatch.setattr(clone, "OWNER", owner / "missing" / "owner")
    assert start_from("/home/me/shop", monkeypatch) is None


def test_stack_is_not_claimed_outside_of_compose(owner: Path) -> None:
    assert clone.main() is None
    assert not owner.exists()
