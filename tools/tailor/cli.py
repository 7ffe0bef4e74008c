"""Writes a project into the current folder, or says what is in the way."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from tools.tailor import adopt, names, project
from tools.tailor.versions import SurveyError


def main(template: Path) -> None:
    """Make the project that copier's answers describe, or write its generated files.

    Args:
        template: the template's folder.

    Raises:
        SystemExit: something is in the way; the message says what.
    """
    if sys.argv[1:] == ["generate"]:
        generate()
        return
    answers: dict[str, Any] = json.loads(sys.argv[1])
    if answers.get("project"):
        answers["project"] = answers["project"].rstrip("/")
    answers["_src_path"] = source_for_updates(answers["_src_path"])
    answers_file = Path(sys.argv[2])
    name, kept = answers["name"], parts_of(answers)
    update = answers_file.exists()
    try:
        if sys.argv[3] == "copy" and not update:
            check_names(template, json.loads(sys.argv[4]))
        if reason := names.fault(name, project.sources(template, kept)):
            refuse(reason)
        if not update and (existing := occupied(Path.cwd())):
            refuse(
                f"the folder {Path.cwd()} is not empty: it has {existing}. Name a folder that does "
                "not exist yet."
            )
        change = adopt.plan(template, answers, Path.cwd(), updates=sys.argv[3] == "update")
        with project.staged(template, kept, name, change) as folder:
            write(folder, Path.cwd(), team_files(template, name), update=update)
    except SurveyError as error:
        refuse(str(error))
    except subprocess.CalledProcessError as failed:
        refuse(f"`{' '.join(failed.cmd)}` failed: {failed.stderr.strip()}")
    answers_file.write_text(answers_text(answers))


def source_for_updates(source: str) -> str:
    """Return the template's address as an update finds it: a relative path as an absolute one.

    copier runs this in the project's folder, and an update may run in any; the shell's folder,
    to which the path is relative, is in PWD.
    """
    path = Path(os.environ.get("PWD", ""), source)
    return str(path.resolve()) if path.is_dir() else source


def check_names(template: Path, given: dict[str, Any]) -> None:
    """Refuse an answer to a question that there is not: copier ignores a misspelled one.

    Raises:
        SurveyError: there is no such question.
    """
    questions = re.findall(r"^([a-z]\w*):$", (template / "copier.yml").read_text(), re.M)
    if unknown := sorted(set(given) - set(questions)):
        raise SurveyError(f"there is no question {unknown[0]}. There are: {', '.join(questions)}.")


def refuse(reason: str) -> NoReturn:
    """End with the reason; what copier has made by now is removed."""
    with suppress(OSError):
        Path("ops").rmdir()
    sys.exit(f"tailor: {reason}")


def generate() -> None:
    """After an update: write what is generated from the stack's variables and the team's."""
    command = [sys.executable, "-B", "manage.py", "env", "write"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        # Most often a conflict, which the team resolves first.
        reason = done.stderr.strip().rpartition("\n")[2]
        print(f"tailor: run `./manage.py env write` after step 1; it failed now: {reason}")


def parts_of(answers: dict[str, Any]) -> set[str]:
    """Return the parts that a project keeps."""
    if answers.get("project"):
        yes = {"adopted"}
    else:
        yes = {"accounts", *(part for part in ("beanstalk", "demo") if answers.get(part))}
    if answers["broker"] != "redis":
        yes.add("other_broker")
    if "asgi" in answers["variants"]:
        yes.add("gunicorn")
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


def write(source: Path, target: Path, team: re.Pattern[str], *, update: bool = False) -> None:
    """Write the project's files; an update leaves the team's alone, missing ones too."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = path.relative_to(source)
        place = target / relative
        if team.match(relative.as_posix()) and (update or place.exists()):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        before = place.read_text() if update and is_lock(relative) and place.exists() else ""
        shutil.copy(path, place)
        if before:
            place.write_text(with_packages(place.read_text(), before))


def is_lock(path: Path) -> bool:
    """Return whether `make lock` writes a file; apt.txt is the team's."""
    return path.parent.name == "requirements" and path.suffix == ".txt"


def with_packages(text: str, before: str) -> str:
    """Return locked packages, and those of the team's that an earlier version of the file has.

    `make lock` then keeps their versions, and drops what is not needed any more.
    """
    package = re.compile(r"^([\w.\[\]-]+)==.*\n(?:    .*\n)*", re.M)
    own = {match[1] for match in package.finditer(text)}
    blocks = [(match[1], match[0]) for match in package.finditer(text)]
    blocks += [(match[1], match[0]) for match in package.finditer(before) if match[1] not in own]
    # A package has several blocks where its version depends on the machine.
    return "".join(block for _, block in sorted(blocks, key=itemgetter(0)))


def answers_text(answers: dict[str, Any]) -> str:
    """Return the answers as YAML, of which JSON is a part; an update reads them."""
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in sorted(answers.items())]
    return "# What copier asked. An update reads it: do not edit it.\n" + "".join(lines)
