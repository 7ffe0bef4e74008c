"""The saved configuration that `eb create` takes by its name, .elasticbeanstalk/default.cfg.yml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.ebctl.lint import nodes, settings
from tools.ebctl.lint.finding import Finding

FILE = ".elasticbeanstalk/default.cfg.yml"


def check(root: Path) -> Iterator[Finding]:
    """Yield what is wrong with its settings; where there is none, nothing."""
    path = root / FILE
    if not path.is_file():
        return
    document, findings = nodes.parse(FILE, path.read_text(encoding="utf-8"))
    yield from findings
    options = nodes.child(document, "OptionSettings")
    if options is None:
        yield Finding(FILE, 0, "it has no OptionSettings", "yaml")
        return
    for item in settings.settings_of(FILE, options):
        if isinstance(item, Finding):
            yield item
        else:
            yield from settings.check(item, by_client=False)
