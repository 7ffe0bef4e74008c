"""Writes a project into the current folder, or says what is in the way."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.tailor import adopt, names, project
from tools.tailor.versions import SurveyError


def main(template: Path) -> None:
    """Make the project that copier's answers describe."""
    answers: dict[str, Any] = json.loads(sys.argv[1])
    answers_file = Path(sys.argv[2])
    name, kept = answers["name"], parts_of(answers)
    if reason := names.fault(name, project.sources(template, kept)):
        sys.exit(f"tailor: {reason}")
    if not answers_file.exists() and (found := occupied(Path.cwd())):
        sys.exit(
            f"tailor: the folder {Path.cwd()} is not empty: it has {found}. Name a folder that "
            "does not exist yet."
        )
    try:
        change = adopt.plan(template, answers, Path.cwd(), updates=sys.argv[3] == "update")
        with project.staged(template, kept, name, change) as folder:
            write(folder, Path.cwd(), team_files(template, name))
    except SurveyError as reason:
        sys.exit(f"tailor: {reason}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"tailor: `{' '.join(error.cmd)}` failed: {error.stderr.strip()}")
    answers_file.write_text(answers_text(answers))


def parts_of(answers: dict[str, Any]) -> set[str]:
    """Return the parts that a project keeps."""
    if answers.get("project"):
        yes = {"adopted"}
    else:
        yes = {"accounts", *(part for part in ("beanstalk", "demo") if answers.get(part))}
    if answers["broker"] != "redis":
        yes.add("other_broker")
    return {answers["database"], answers["broker"], *answers["variants"], *yes}


def occupied(folder: Path) -> str:
    """Return the name of a file in a folder, or nothing; an empty repository is free."""
    for path in sorted(folder.iterdir()):
        if path.is_file() or (path.name != ".git" and any(path.iterdir())):
            return path.name
    return ""


def team_files(template: Path, name: str) -> re.Pattern[str]:
    """Return what matches the team's files: `_skip_if_exists` in copier.yml."""
    listed = (template / "copier.yml").read_text().partition("\n_skip_if_exists:\n")[2]
    entries = re.findall(r'^  - "?/(.+?)"?$', listed.partition("\n\n")[0], re.M)
    entries = [re.escape(entry.replace("{{ name }}", name)) for entry in entries]
    return re.compile("|".join(entry if entry.endswith("/") else f"{entry}$" for entry in entries))


def write(source: Path, target: Path, team: re.Pattern[str]) -> None:
    """Write the project's files over those of an earlier version, but not over the team's."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = path.relative_to(source)
        place = target / relative
        if place.exists() and team.match(relative.as_posix()):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def answers_text(answers: dict[str, Any]) -> str:
    """Return the answers as YAML, of which JSON is a part; an update reads them."""
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in sorted(answers.items())]
    return "# What copier asked. An update reads it: do not edit it.\n" + "".join(lines)
