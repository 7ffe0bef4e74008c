"""Puts an existing project on the stack: its layers, and what the images and tools take from it."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

ADOPTED = Path(__file__).parent / "adopted"


def write_layers(
    package: Path, settings: Mapping[str, str], *, unused: tuple[str, ...] = (), celery: str = ""
) -> None:
    """Replace the template's settings and URLs by those that take the project's as their base.

    Args:
        package: the folder of the template's package.
        settings: the project's settings module of each layer.
        unused: variables that these read for what the stack decides.
        celery: the dotted name of the project's Celery application.
    """
    for path in ADOPTED.rglob("*.py"):
        shutil.copyfile(path, package / path.relative_to(ADOPTED))
    base = package / "settings" / "base.py"
    text = base.read_text()
    for layer, module in settings.items():
        text = re.sub(rf'("{layer}": )"[\w.]+"', rf'\g<1>"{module}"', text)
    if unused:
        names = "".join(f'\n    "{name}",' for name in unused)
        text = text.replace("UNUSED: tuple[str, ...] = ()", f"UNUSED = ({names}\n)")
    base.write_text(text.replace('CELERY_APP = ""', f'CELERY_APP = "{celery}"'))
