"""Secrets from files, such as docker secrets."""

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
def test_secret_file_loses_one_trailing_newline_only(
    tmp_path: Path, content: str, value: str
) -> None:
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
        pytest.param(b"hidden" * 100_000, "too large", id="large"),
    ],
)
def test_invalid_secret_file_is_a_fault_that_names_its_path(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
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


def test_directory_as_a_secret_file_is_a_fault(tmp_path: Path) -> None:
    """Docker creates a directory where the file of a bind mount is missing."""
    fault = text_of(KEY, {"DJANGO_SECRET_KEY_FILE": str(tmp_path)})
    assert isinstance(fault, Fault)
    assert str(tmp_path) in fault.problem


def test_secret_and_secret_file_both_set_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("hidden-in-file")
    both = {"DJANGO_SECRET_KEY": "hidden", "DJANGO_SECRET_KEY_FILE": str(path)}
    fault = text_of(KEY, both)
    assert isinstance(fault, Fault)
    assert "DJANGO_SECRET_KEY is set too" in fault.problem
    assert "hidden" not in str(fault)


@pytest.mark.parametrize("empty", ["DJANGO_SECRET_KEY", "DJANGO_SECRET_KEY_FILE"])
def test_empty_secret_or_secret_file_counts_as_not_set(tmp_path: Path, empty: str) -> None:
    """Docker compose passes on a variable that is not set as an empty value."""
    path = tmp_path / "key"
    path.write_text("value")
    both = {"DJANGO_SECRET_KEY": "value", "DJANGO_SECRET_KEY_FILE": str(path), empty: ""}
    assert text_of(KEY, both) == "value"


def test_only_secrets_can_come_from_a_file(tmp_path: Path) -> None:
    """DATABASE_URL has a password, so it is a secret; DRAIN_FILE is no file of a secret."""
    path = tmp_path / "value"
    path.write_text("from-file\n")
    for name, variable in VARIABLES.items():
        text = text_of(variable, {f"{name}_FILE": str(path)})
        assert text == ("from-file" if variable.secret else ""), name
    assert VARIABLES["DATABASE_URL"].secret
    assert text_of(VARIABLES["DRAIN_FILE"], {"DRAIN_FILE": "x"}) == "x"
