"""Puts an existing project on the stack: its layers, and what the images and tools take from it."""

import ast
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ops.environment.contract import VARIABLES
from ops.settings.adopted import DECIDED, MAIL
from tools.tailor.findings import findings
from tools.tailor.survey import Read, Survey, survey, uncommitted
from tools.tailor.versions import SurveyError

ADOPTED: Final = Path(__file__).parent / "adopted"
SECRET: Final = re.compile("KEY|SECRET|TOKEN|PASSWORD|PASSWD|DSN|CREDENTIAL")
# A context of its own needs what keeps other files out of the images (docs/adopt.md).
IGNORED: Final = """# What of your project is in no image. Your own .dockerignore is not read.
**/.*
**/__pycache__
**/*.pyc
**/*.sqlite3
**/node_modules
**/venv
**/env
"""


def plan(
    template: Path, answers: Mapping[str, Any], stack: Path, *, updates: bool
) -> Callable[[Path], None] | None:
    """Return what is changed for an existing project; print what a person has to know of it.

    Args:
        template: the folder of this tree.
        answers: copier's.
        stack: the folder that the stack gets in the project.
        updates: whether only the stack's own files are wanted: those that the survey fills are
            the team's by now.

    Raises:
        SurveyError: the project cannot be adopted.
    """
    if not (project := answers.get("project")):
        return None
    if updates:
        return partial(change, answers=answers, stack=stack, survey=None)
    if not re.fullmatch(r"\.\.(/[A-Za-z0-9_-]+)*", project):
        raise SurveyError(
            f"project is {project!r}. Use .. or a folder next to the stack's, such as ../backend. "
            "Its name can have letters, digits, _ and -."
        )
    root = (stack / project).resolve()
    if work := uncommitted(root, stack):
        raise SurveyError(
            f"{root} has uncommitted work: {work}. Commit it, so that you can compare and undo "
            "what this adds, then run the command again."
        )
    for name in (answers["name"], "ops"):
        if (root / name).exists() or (root / f"{name}.py").exists():
            raise SurveyError(
                f"your project has a module {name}, and so has the stack. "
                + ("Rename yours." if name == "ops" else "Choose another name: --data name=...")
            )
    project = survey(root, decided(template), set(VARIABLES), answers.get("settings", ""))
    print(f"{root}: settings {project.settings['production']}, users {project.user_model}")
    for finding in findings(project):
        print(f"- {finding}")
    return partial(change, answers=answers, stack=stack, survey=project)


def decided(template: Path) -> re.Pattern[str]:
    """Return what matches the settings that the stack decides."""
    tree = ast.parse((template / "ops/settings/stack.py").read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {name for name in names if name.isupper() and not MAIL.fullmatch(name)}
    return re.compile("|".join([DECIDED.pattern, *sorted(names)]))


def change(folder: Path, *, answers: Mapping[str, Any], stack: Path, survey: Survey | None) -> None:
    """Change the files of a new stack for the project."""
    name, project = answers["name"], answers["project"]
    below = project.count("/")
    place = "/".join([*[".."] * below, stack.name])
    for path in folder.glob("docker-compose*.yaml"):
        text = path.read_text().replace("context: PROJECT\n", f"context: {project}\n")
        text = text.replace("- PROJECT:/srv", f"- {project}:/srv")
        path.write_text(text.replace("dockerfile: STACK/", f"dockerfile: {place}/"))
    for file in ("Makefile", ".github/workflows/ci.yml", ".gitlab-ci.yml"):
        path = folder / file
        text = path.read_text().replace("stack=. PROJECT\n", f"stack=. {project}\n")
        path.write_text(re.sub(r"(directory:|cd) STACK\n", rf"\1 {stack.name}\n", text))
    for layer in ("local", "dev", "production"):
        own = "" if below else f"{stack.name}\n"
        (folder / f"Dockerfile.{layer}.dockerignore").write_text(f"{IGNORED}{own}")
    package = folder / name
    init = package / "__init__.py"
    init.write_text(init.read_text().replace('PROJECT = ".."', f'PROJECT = "{project}"'))
    if survey:
        fill(package / "settings" / "base.py", survey.settings, survey.unused, survey.celery)
        declare(package / "environment.py", survey.variables)
        require(folder / "requirements" / "project.in", survey, project)


def write_layers(
    package: Path, settings: Mapping[str, str], *, unused: tuple[str, ...] = (), celery: str = ""
) -> None:
    """Replace the template's settings and URLs by those that take the project's as their base."""
    for path in ADOPTED.rglob("*.py"):
        shutil.copyfile(path, package / path.relative_to(ADOPTED))
    fill(package / "settings" / "base.py", settings, unused, celery)


def fill(base: Path, settings: Mapping[str, str], unused: tuple[str, ...], celery: str) -> None:
    """Write into the settings what they take from the project.

    Args:
        base: the file.
        settings: the project's settings module of each layer.
        unused: variables that these read for what the stack decides.
        celery: the dotted name of the project's Celery application.
    """
    text = base.read_text()
    for layer, module in settings.items():
        text = re.sub(rf'("{layer}": )"[\w.]+"', rf'\g<1>"{module}"', text)
    if unused:
        names = "".join(f'\n    "{name}",' for name in unused)
        text = text.replace("UNUSED: tuple[str, ...] = ()", f"UNUSED = ({names}\n)")
    base.write_text(text.replace('CELERY_APP = ""', f'CELERY_APP = "{celery}"'))


def declare(path: Path, variables: tuple[Read, ...]) -> None:
    """Declare the variables that the project's settings read."""
    if not variables:
        return
    entries = "".join(
        f'    Variable(\n        name="{one.name}",\n        help="{one.where} reads it.",\n'
        + ("        secret=True,\n" if SECRET.search(one.name) else "")
        + (
            f"        required_in=frozenset({{{quoted(one.required_in)}}}),\n"
            if one.required_in
            else ""
        )
        + "    ),\n"
        for one in variables
    )
    text = path.read_text().partition("VARIABLES: Final")[0]
    path.write_text(f"{text}VARIABLES: Final[tuple[Variable, ...]] = (\n{entries})\n")


def quoted(names: frozenset[str]) -> str:
    """Return names as Python lists them."""
    return ", ".join(f'"{name}"' for name in sorted(names))


def require(path: Path, survey: Survey, project: str) -> None:
    """Name the project's own requirements."""
    (source,) = survey.requirements
    parent = "" if source.is_relative_to(survey.root) else "../"
    relative = source.relative_to(survey.root.parent if parent else survey.root).as_posix()
    about = f"# What {relative} has. "
    if source.suffix == ".txt":
        lines = f"{about}After a change there: make lock\n-r ../{project}/{parent}{relative}\n"
    else:
        packages = "".join(f"{line}\n" for line in survey.packages)
        lines = f"{about}After a change there: change it here, then make lock\n{packages}"
    path.write_text(lines)
