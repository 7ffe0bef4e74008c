"""The project's translations: gettext compiles .po files into MESSAGES_ROOT, for Django to read.

Images compile them while they are built. The local layer does so at each start, since an edit is
live, and the project's own folders cannot be written in its containers.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

MISSING = (
    "it needs gettext, which is not installed. Add a line `gettext` to requirements/apt.txt and "
    "build the images again; outside of containers install it: apt-get install gettext"
)
logger = logging.getLogger(__name__)


def use_compiled() -> None:
    """Have Django read the compiled files before any others.

    A model's name may be translated while models load, before any app is ready. Django reads
    LOCALE_PATHS at the first translation, when all apps are known: the list is made only then.
    """
    settings.LOCALE_PATHS = SimpleLazyObject(partial(with_compiled, settings.LOCALE_PATHS))


def with_compiled(given: Sequence[str | Path]) -> list[str | Path]:
    """Compile where that is possible; return the folders of compiled files, then the given ones.

    Raises:
        ImproperlyConfigured: one cannot be compiled while an image is built.
    """
    own = folders(given)
    if settings.COMPILE_MESSAGES:
        for problem in compile_changed(own):
            if settings.BUILDING:
                raise ImproperlyConfigured(problem)
            logger.warning(problem)
    return [*(str(target(folder)) for folder in own if target(folder).is_dir()), *given]


def folders(given: Sequence[str | Path]) -> list[Path]:
    """Return the project's folders of translations that Django reads; the first has precedence."""
    every = [Path(path) for path in given]
    every += [Path(app.path, "locale") for app in apps.get_app_configs()]
    return [folder for folder in every if is_own(folder)]


def is_own(folder: Path) -> bool:
    """Return whether it is in the project, and not in a virtual environment there."""
    if not (folder.is_dir() and folder.is_relative_to(settings.SOURCE_ROOT)):
        return False
    parts = folder.relative_to(settings.SOURCE_ROOT).parts
    return not any(part.startswith(".") or part == "site-packages" for part in parts)


def target(folder: Path) -> Path:
    """Return where its compiled files are."""
    return Path(settings.MESSAGES_ROOT) / folder.relative_to(settings.SOURCE_ROOT)


def compile_changed(own: list[Path]) -> list[str]:
    """Compile the files that changed since the last time, and return what is wrong with others."""
    problems = []
    msgfmt = shutil.which("msgfmt")
    for folder in own:
        for source in sorted(folder.glob("*/LC_MESSAGES/*.po")):
            name = source.relative_to(settings.SOURCE_ROOT)
            result = target(folder) / source.relative_to(folder).with_suffix(".mo")
            changed = source.stat().st_mtime_ns
            if result.exists() and result.stat().st_mtime_ns == changed:
                continue
            if msgfmt:
                problem = compile_one(msgfmt, source, result, changed)
            else:
                # A project may keep compiled files next to their sources.
                problem = "" if source.with_suffix(".mo").exists() else MISSING
            if problem:
                problems.append(f"{name}: {problem}")
    return problems


def compile_one(msgfmt: str, source: Path, result: Path, changed: int) -> str:
    """Compile one file under another name first, since other processes read it.

    Args:
        msgfmt: gettext's program.
        source: the .po file.
        result: the .mo file.
        changed: the source's time of change in nanoseconds, which the result gets.

    Returns:
        What is wrong; empty if it was compiled.
    """
    part = result.with_name(f".{result.name}.{os.getpid()}")
    try:
        result.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603 (gettext's own program, files of this project)
            [msgfmt, "--check-format", "--output-file", str(part), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"gettext cannot compile it: {done.stderr.strip()[-500:]}"
        os.utime(part, ns=(changed, changed))
        part.replace(result)
    except OSError as error:
        return f"its compiled file cannot be written: {error}"
    return ""
