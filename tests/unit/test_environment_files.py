"""Secrets from files, as docker secrets give them."""

from pathlib import Path

import pytest

from ops.environment.contract import VARIABLES
from ops.environment.fault import Fault
from ops.environment.files import text_of

KEY = VARIABLES["DJANGO_SECRET_KEY"]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("hidden", "hidden"),
        ("hidden\n", "hidden"),
        ("hidden\r\n", "hidden"),
        ("hidden\n\n", "hidden\n"),
        (" hidden ", " hidden "),
        ("hid\nden\n", "hid\nden"),
        ("비밀\n", "비밀"),
    ],
)
def test_one_line_end_is_dropped_and_nothing_else(tmp_path: Path, content: str, value: str) -> None:
    """A space may belong to a password; the newline of `echo` does not."""
    path = tmp_path / "key"
    path.write_bytes(content.encode())
    assert text_of(KEY, {"DJANGO_SECRET_KEY_FILE": str(path)}) == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hidden\xff", "not UTF-8"),
        (b"hidden" * 20_000, "too large"),
    ],
)
def test_a_file_that_gives_no_secret_is_a_fault_naming_its_path(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """And not its content."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    fault = text_of(KEY, {"DJANGO_SECRET_KEY_FILE": str(path)})
    assert isinstance(fault, Fault)
    assert fault.name == "DJANGO_SECRET_KEY_FILE"
    assert problem in fault.problem
    assert str(path) in fault.problem
    assert fault.hint
    assert "hidden" not in str(fault)


def test_a_directory_is_a_fault(tmp_path: Path) -> None:
    """Docker makes one where the file of a bind mount is missing."""
    fault = text_of(KEY, {"DJANGO_SECRET_KEY_FILE": str(tmp_path)})
    assert isinstance(fault, Fault)
    assert str(tmp_path) in fault.problem


def test_both_set_is_a_fault(tmp_path: Path) -> None:
    """Neither wins silently."""
    path = tmp_path / "key"
    path.write_text("hidden-in-file")
    both = {"DJANGO_SECRET_KEY": "hidden", "DJANGO_SECRET_KEY_FILE": str(path)}
    fault = text_of(KEY, both)
    assert isinstance(fault, Fault)
    assert "DJANGO_SECRET_KEY is set too" in fault.problem
    assert "hidden" not in str(fault)


@pytest.mark.parametrize("empty", ["DJANGO_SECRET_KEY", "DJANGO_SECRET_KEY_FILE"])
def test_an_empty_one_of_the_two_is_not_set(tmp_path: Path, empty: str) -> None:
    """Docker compose passes on an empty text for what it was not given."""
    path = tmp_path / "key"
    path.write_text("value")
    both = {"DJANGO_SECRET_KEY": "value", "DJANGO_SECRET_KEY_FILE": str(path), empty: ""}
    assert text_of(KEY, both) == "value"


def test_every_secret_can_come_from_a_file_and_nothing_else(tmp_path: Path) -> None:
    """DATABASE_URL is one, since a password is in it; DRAIN_FILE is only a name like one."""
    path = tmp_path / "value"
    path.write_text("from-file\n")
    for name, variable in VARIABLES.items():
        text = text_of(variable, {f"{name}_FILE": str(path)})
        assert text == ("from-file" if variable.secret else ""), name
    assert VARIABLES["DATABASE_URL"].secret
    assert text_of(VARIABLES["DRAIN_FILE"], {"DRAIN_FILE": "x"}) == "x"
