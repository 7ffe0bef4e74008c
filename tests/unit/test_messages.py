"""Translations are compiled where they changed; a fault in one names its file and the next step."""

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import translation
from pytest_django import Settings

from ops import messages

# Writes an empty catalog; a source with the word `broken` is refused as gettext does it.
MSGFMT = """#!/bin/sh
grep -q broken "$4" && { echo "$4:1: syntax error" >&2; exit 1; }
cp "$4" "$3"
"""


@pytest.fixture
def source(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's one translation, and a gettext to compile it."""
    path = tmp_path / "site/locale/de/LC_MESSAGES/django.po"
    path.parent.mkdir(parents=True)
    path.write_text("first")
    settings.BASE_DIR = tmp_path / "site"
    settings.LOCALE_PATHS = [tmp_path / "site/locale"]
    settings.MESSAGES_ROOT = tmp_path / "compiled"
    program = tmp_path / "bin/msgfmt"
    program.parent.mkdir()
    program.write_text(MSGFMT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return path


def compiled(source: Path, settings: Settings) -> Path:
    """Return where its compiled file is."""
    name = source.relative_to(settings.BASE_DIR).with_suffix(".mo")
    return Path(settings.MESSAGES_ROOT) / name


def test_a_translation_is_compiled_once_and_again_when_it_changed(
    source: Path, settings: Settings
) -> None:
    result = compiled(source, settings)
    assert messages.compile_changed() == []
    assert result.read_text() == "first"
    result.write_text("kept")
    os.utime(result, ns=(0, source.stat().st_mtime_ns))
    assert messages.compile_changed() == []
    assert result.read_text() == "kept"

    source.write_text("second")
    # Older than before, as after a checkout of an earlier commit.
    os.utime(source, (1, 1))
    assert messages.compile_changed() == []
    assert result.read_text() == "second"


def test_compiled_translations_come_before_the_project_s_own(
    source: Path, settings: Settings
) -> None:
    messages.use_compiled()

    own = source.parents[2]
    assert list(settings.LOCALE_PATHS) == [f"{settings.MESSAGES_ROOT}/locale", own]


def test_without_gettext_the_message_names_the_file_and_the_line(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    settings.BUILDING = True

    with pytest.raises(ImproperlyConfigured) as error:
        messages.use_compiled()

    said = str(error.value)
    assert "locale/de/LC_MESSAGES/django.po" in said
    assert "`gettext` to requirements/apt.txt" in said


def test_without_gettext_a_compiled_file_of_the_project_is_enough(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    source.with_suffix(".mo").touch()

    assert messages.compile_changed() == []


def test_outside_of_a_build_a_broken_translation_is_logged_and_the_former_one_stays(
    source: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    messages.use_compiled()
    source.write_text("broken")
    settings.LOCALE_PATHS = [source.parents[2]]
    settings.BUILDING = False

    messages.use_compiled()

    assert "django.po:1: syntax error" in caplog.text
    assert compiled(source, settings).read_text() == "first"


def test_running_servers_of_other_layers_compile_nothing(source: Path, settings: Settings) -> None:
    settings.COMPILE_MESSAGES = False

    messages.use_compiled()

    assert not compiled(source, settings).exists()
    assert list(settings.LOCALE_PATHS) == [source.parents[2]]


def test_translations_of_installed_packages_are_left_alone(settings: Settings) -> None:
    """Django's own apps have folders `locale` too, in a virtual environment in the project."""
    settings.BASE_DIR = Path(translation.__file__).parents[5]
    assert not [folder for folder in messages.folders() if "site-packages" in folder.parts]
