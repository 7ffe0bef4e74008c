"""Changed translations are compiled; a fault names its file and the next step."""

import os
import struct
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.commands import makemessages
from django.utils import translation
from pytest_django import Settings

from ops import messages
from tests.tree import copy_tree
from tests.unit.forks import run_forked

# Copies the source; refuses one with the word `broken`, as gettext does.
MSGFMT = """#!/bin/sh
grep -q broken "$4" && { echo "$4:1: syntax error" >&2; exit 1; }
cp "$4" "$3"
"""


@pytest.fixture
def source(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only translation of a project, with a fake msgfmt."""
    path = tmp_path / "site/locale/de/LC_MESSAGES/django.po"
    path.parent.mkdir(parents=True)
    path.write_text("first")
    settings.SOURCE_ROOT = tmp_path / "site"
    settings.LOCALE_PATHS = [tmp_path / "site/locale"]
    settings.MESSAGES_ROOT = tmp_path / "compiled"
    program = tmp_path / "bin/msgfmt"
    program.parent.mkdir()
    program.write_text(MSGFMT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return path


def use_compiled() -> None:
    """Use the compiled translations, and read the folders as Django does."""
    messages.use_compiled()
    list(django_settings.LOCALE_PATHS)


def compiled(source: Path, settings: Settings) -> Path:
    """Return the path of its compiled file."""
    name = source.relative_to(settings.SOURCE_ROOT).with_suffix(".mo")
    return Path(settings.MESSAGES_ROOT) / name


def test_translation_is_compiled_only_when_it_changed(source: Path, settings: Settings) -> None:
    result = compiled(source, settings)
    assert messages.compile_changed([source.parents[2]]) == []
    assert result.read_text() == "first"
    compiled_at = result.stat().st_mtime_ns
    result.write_text("kept")
    os.utime(result, ns=(0, compiled_at))
    assert messages.compile_changed([source.parents[2]]) == []
    assert result.read_text() == "kept"

    source.write_text("second")
    # With an older time, as after a checkout of an earlier commit.
    os.utime(source, (1, 1))
    assert messages.compile_changed([source.parents[2]]) == []
    assert result.read_text() == "second"


def test_compiled_translations_precede_those_of_the_project(
    source: Path, settings: Settings
) -> None:
    use_compiled()

    own = source.parents[2]
    assert list(settings.LOCALE_PATHS) == [f"{settings.MESSAGES_ROOT}/locale", own]


def test_build_without_gettext_names_the_translation_and_the_package(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    settings.BUILDING = True

    with pytest.raises(ImproperlyConfigured) as error:
        use_compiled()

    message = str(error.value)
    assert "locale/de/LC_MESSAGES/django.po" in message
    assert "`gettext` to requirements/apt.txt" in message


def test_compiled_translation_of_the_project_needs_no_gettext(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    source.with_suffix(".mo").touch()

    assert messages.compile_changed([source.parents[2]]) == []


def test_broken_translation_outside_a_build_is_logged_and_the_former_one_is_kept(
    source: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    use_compiled()
    source.write_text("broken")
    settings.LOCALE_PATHS = [source.parents[2]]
    settings.BUILDING = False

    use_compiled()

    assert "django.po:1: syntax error" in caplog.text
    assert compiled(source, settings).read_text() == "first"


def test_compile_messages_false_compiles_no_translation(source: Path, settings: Settings) -> None:
    settings.COMPILE_MESSAGES = False

    use_compiled()

    assert not compiled(source, settings).exists()
    assert list(settings.LOCALE_PATHS) == [source.parents[2]]


def test_makemessages_writes_to_the_locale_folder_of_the_project(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of an app without a `locale` folder go to the first of LOCALE_PATHS."""
    use_compiled()
    seen: list[object] = []
    monkeypatch.setattr(
        makemessages.Command, "handle", lambda *_, **__: seen.extend(settings.LOCALE_PATHS)
    )

    call_command("makemessages", locale=["de"])

    assert seen == [source.parents[2]]


def test_translations_of_installed_packages_are_not_compiled(settings: Settings) -> None:
    """Apps of Django have `locale` folders in the virtual environment of the project."""
    settings.SOURCE_ROOT = Path(translation.__file__).parents[5]
    assert not [folder for folder in messages.folders([]) if "site-packages" in folder.parts]


def catalog(original: bytes, translated: bytes) -> bytes:
    """Return a compiled translation of one text, in the format of msgfmt."""
    texts = (b"", original, b"Content-Type: text/plain; charset=UTF-8\n", translated)
    table, start = b"", 28 + 8 * len(texts)
    for text in texts:
        table += struct.pack("<2I", len(text), start)
        start += len(text) + 1
    header = struct.pack("<7I", 0x950412DE, 0, 2, 28, 44, 0, 28 + len(table))
    return header + table + b"".join(text + b"\0" for text in texts)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with two compiled translations."""
    tree = copy_tree(tmp_path_factory.mktemp("site"))
    (tree / "api/locale").mkdir()
    for code in ("de", "fr"):
        path = tree / f"var/messages/api/locale/{code}/LC_MESSAGES/django.mo"
        path.parent.mkdir(parents=True)
        path.write_bytes(catalog(b"Basket", f"Basket in {code}".encode()))
    return tree


@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("language", ["de", "fr", "en-us"])
def test_language_code_selects_the_translation_while_models_load(site: Path, language: str) -> None:
    """The name of a many-to-many relation is translated before any app is ready."""
    done = run_forked(
        *("manage.py", "shell", "--verbosity", "0", "--command"),
        "from django.utils.translation import gettext; print(gettext('Basket'))",
        cwd=site,
        env={"PATH": os.environ["PATH"], "DJANGO_LANGUAGE_CODE": language},
    )

    assert done.stdout.strip() == ("Basket" if language == "en-us" else f"Basket in {language}"), (
        done.stderr
    )
