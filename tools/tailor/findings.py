"""What a person has to know about a project that is adopted: what changes, and the choice."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.tailor.survey import Survey, file_of, parsed, sources

FILES: Final = ("Dockerfile", "docker-compose.yml", "docker-compose.yaml", "compose.yaml")
# What only other tools read, and their commands that write a requirements.txt.
LOCKS: Final = {
    "uv.lock": "uv export --no-dev --no-emit-project",
    "poetry.lock": "poetry export",
    "pdm.lock": "pdm export --prod",
}
SQLITE: Final = re.compile(r"\bPRAGMA\b|sqlite_master|AUTOINCREMENT|\bstrftime\('%")
INLINE: Final = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>")


def findings(survey: Survey) -> Iterator[str]:
    """Yield one or two sentences each.

    Raises:
        SurveyError: the project's URLs are no Python.
    """
    root = survey.root
    for name in FILES:
        if (root / name).exists():
            yield f"{name} stays as it is; the stack has its own in its folder."
    if unpinned := [line for line in survey.packages if not re.search("[=<>~@]", line)]:
        yield (
            f"Packages without a version: {len(unpinned)} ({', '.join(unpinned[:3])}). `make lock` "
            "pins the newest that fit."
        )
    for lock in LOCKS:
        if any(
            path.name == "pyproject.toml" and path.with_name(lock).exists()
            for path in survey.requirements
        ):
            yield (
                f"{lock} is not read: `make lock` pins the newest that fit pyproject.toml. To keep "
                f"your versions, write them into requirements.txt first: {LOCKS[lock]}."
            )
    if survey.django != "5.2":
        yield (
            f"Django {survey.django} is required, which needs Python 3.12: the images have 3.13; "
            "`make run` and `make lock` need it on this machine as well."
        )
    urls = routes(parsed(file_of(root, survey.urls)))
    if "" in urls:
        yield "/ is yours; the stack's status page is /status/."
    for path in ("profile", "status", "healthz"):
        if path in urls:
            yield (
                f"/{path} is the stack's, so that path of {survey.urls} is not reached. Give it "
                "another."
            )
    if count := sum(len(INLINE.findall(text)) for text in texts(survey, ".html")):
        yield f"Inline scripts: {count}. Browsers only report them while CSP_MODE=report-only."
    for source in sources(root):
        if match := SQLITE.search(source.read_text(errors="replace")):
            yield (
                f"{source.relative_to(root)} has SQL that only SQLite supports ({match[0]}). "
                "Change it for the stack's database."
            )
    if survey.folders:
        yield (
            f"{', '.join(survey.folders)}: servers can write only to MEDIA_ROOT and PRIVATE_ROOT. "
            "Set each folder that your project writes to in the stack's settings/base.py."
        )
    if re.search(r"\b(channels|daphne)\b", " ".join(survey.packages).lower()):
        yield "channels: WebSockets need APP_SERVER=asgi (--data 'variants=[asgi]')."


def routes(tree: ast.Module) -> set[str]:
    """Return the first arguments of path() and re_path(), without what begins and ends them."""
    return {
        str(node.args[0].value).strip("^$/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("path", "re_path", "url")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def texts(survey: Survey, suffix: str) -> Iterator[str]:
    """Yield the texts of the project's files of a kind."""
    for path in sources(survey.root, suffix):
        yield path.read_text(errors="replace")
