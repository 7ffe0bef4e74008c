"""Static checks of what Elastic Beanstalk will read, without AWS: `./ebctl lint`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.ebctl.bundle import Bundle, read
from tools.ebctl.lint import (
    apps,
    config_files,
    container,
    platform_files,
    properties,
    resources,
    saved,
    settings,
)
from tools.ebctl.lint.finding import Finding


def findings_in(path: Path) -> list[Finding]:
    """Return everything that is wrong with a bundle, or with a working tree.

    Args:
        path: a .zip, or the root of a git clone.

    Raises:
        EbctlError: it is neither.
    """
    findings = list(findings_of(read(path), with_saved=(path / saved.FILE).is_file()))
    if path.is_dir():
        findings += saved.check(path)
        if (path / ".ebignore").exists():
            message = "with it the eb client sends the whole folder, .env and .git too; remove it"
            findings.append(Finding(".ebignore", 0, message, "stray"))
    return sorted(set(findings))


def findings_of(bundle: Bundle, *, with_saved: bool = False) -> Iterator[Finding]:
    """Yield everything that is wrong with a bundle.

    Args:
        bundle: the bundle.
        with_saved: `eb create` uses a saved configuration with it.
    """
    read_settings, sections = [], []
    for item in config_files.check(bundle):
        if isinstance(item, Finding):
            yield item
        elif isinstance(item, resources.Section):
            sections.append(item)
        else:
            read_settings.append(item)
            yield from settings.check(item, with_saved=with_saved)
    yield from settings.check_together(read_settings)
    yield from resources.check(sections)
    yield from properties.check(read_settings)
    yield from platform_files.check(bundle)
    yield from container.check(bundle)
    yield from apps.check(bundle)
