"""`copier update`: a later version, in a project with its own name, parts and commits."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.adopt.template import commit, copy_template, create_template, run_command, update_project
from tests.tree import ROOT

# Files of the stack that the second version changes.
CHANGED = (
    *("Dockerfile.base", "Makefile", "docker-compose.yaml", "docker-compose.common.yaml"),
    *("haproxy/haproxy.cfg", "nginx/nginx.conf", "supervisor/entrypoint", "redis/redis.conf"),
    *(
        "variants/postgres/postgresql.conf",
        "conftest.py",
        "manage.py",
        "stackctl",
        "tests/lint",
        "pyproject.toml",
    ),
    *("ops/apps.py", "ops/cache.py", "ops/celery.py", "tools/stackctl/cli/app.py"),
    *("requirements/lock", "ops/environment/broker.py"),
)
REMOVED = ".devcontainer/devcontainer.json"
NOTE = "A line of the second version, by mysite."
VARIABLE = '    Variable(name="SHOP_LIMIT", help="Items in a basket.", default="20"),\n'
# A package that is installed for the tests, but is not in the images yet.
PACKAGE = re.findall(
    r"^iniconfig==.*\n(?:    .*\n)+", (ROOT / "requirements/test.txt").read_text(), re.MULTILINE
)[0]
URL = 'path("", include("basket.urls"))'
LOCKS = [f"requirements/{name}.txt" for name in ("base", "embedded", "local", "production", "test")]
# The app of the team: a model, a page and a test.
APP = {
    "models.py": """from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=50)
""",
    "urls.py": """from django.http import HttpResponse
from django.urls import path
from iniconfig import IniConfig

from basket.models import Item

WORDS = IniConfig("words.ini", data="[one]\\nof=items")


def index(request):
    return HttpResponse(f"{Item.objects.count()} {WORDS['one']['of']}")


urlpatterns = [path("basket/", index)]
""",
    "tests.py": """def test_no_item(client, db):
    assert client.get("/basket/").content == b"0 items"
""",
}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, path
    path.write_text(text.replace(old, new, 1))


def commit_team_changes(folder: Path) -> None:
    """Commit changes to the team's own files, as docs/your-app.md describes."""
    commit(folder)
    (folder / "basket").mkdir()
    (folder / "basket/__init__.py").write_text('"""The demo of mysite, with Kafka."""\n')
    commit(folder)
    replace(folder / "shop/settings/base.py", "APPS = [", 'APPS = [\n    "basket",')
    commit(folder)
    declared = f"VARIABLES: Final = (\n{VARIABLE})"
    replace(folder / "shop/environment.py", "VARIABLES: Final[tuple[Variable, ...]] = ()", declared)
    run_command(folder, sys.executable, "manage.py", "env", "write")
    commit(folder)
    (folder / "requirements/project.in").write_text("iniconfig\n")
    for lock in LOCKS:
        path = folder / lock
        path.write_text(PACKAGE + path.read_text().replace(PACKAGE, ""))
    commit(folder)
    run_command(folder, "git", "rm", "-r", "--quiet", "api/templates")
    commit(folder)
    replace(folder / "accounts/models.py", '"""', '"""Ours. ')
    commit(folder)
    (folder / "basket/models.py").write_text(APP["models.py"])
    run_command(folder, sys.executable, "manage.py", "makemigrations", "basket")
    commit(folder)
    (folder / "basket/urls.py").write_text(APP["urls.py"])
    replace(folder / "shop/urls.py", "urlpatterns = [", f"urlpatterns = [\n    {URL},")
    commit(folder)
    (folder / "basket/tests.py").write_text(APP["tests.py"])
    commit(folder)


def release_second_version(source: Path) -> None:
    """Change twenty files, a variable and a lock file of the stack; add and remove a file."""
    for name in CHANGED:
        path = source / name
        path.write_text(f"{path.read_text()}# {NOTE}\n")
    for name in run_command(source, "git", "grep", "-lIw", "HTTP_PORT").output.split():
        path = source / name
        path.write_text(re.sub(r"\bHTTP_PORT\b", "SITE_PORT", path.read_text()))
    replace(source / "accounts/models.py", '"""', '"""Theirs. ')
    replace(source / "requirements/base.txt", "amqp==", "amqp==99.")
    (source / "ops/added.py").write_text(f'"""{NOTE}"""\n')
    (source / REMOVED).unlink()
    run_command(source, sys.executable, "manage.py", "env", "write")
    commit(source, tag="v2.0.0")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Create two projects: one with edits in its own files only, one that also edited the stack."""
    folder = tmp_path_factory.mktemp("update")
    source, own, edited = folder / "source", folder / "own", folder / "edited"
    copy_template(
        create_template(source), own, {"name": "shop", "database": "postgres", "broker": "rabbitmq"}
    )
    commit_team_changes(own)
    shutil.copytree(own, edited)
    replace(edited / "manage.py", '__main__":\n    main()\n', '__main__":\n    main()\n# Ours\n')
    replace(edited / "Makefile", "\nrun: ", "\n# Ours\nrun: ")
    commit(edited)
    release_second_version(source)
    return own, edited


def list_conflicts(folder: Path) -> list[str]:
    """Return the files with conflicts; git and the conflict markers must agree."""
    by_git = run_command(folder, "git", "diff", "--name-only", "--diff-filter=U").output.split()
    marked = run_command(folder, "git", "grep", "-l", "^<<<<<<<", check=False).output.split()
    assert sorted(by_git) == sorted(marked)
    return by_git


@pytest.fixture(scope="module")
def updated(projects: tuple[Path, Path]) -> tuple[Path, str]:
    """Update the first project, and return its folder and the output of copier."""
    folder, _ = projects
    assert run_command(folder, "git", "rev-list", "--count", "HEAD").output == "10\n"
    return folder, update_project(folder).output


def test_update_has_no_conflict_if_the_team_edited_only_its_own_files(
    updated: tuple[Path, str],
) -> None:
    folder, output = updated

    assert list_conflicts(folder) == []
    assert not list(folder.rglob("*.rej"))
    for name in CHANGED:
        path = folder / name
        assert NOTE.replace("mysite", "shop") in path.read_text(), name
    assert (folder / "ops/added.py").exists() and not (folder / REMOVED).exists()
    # The update changes no file of the team, and adds none that it removed.
    changed = run_command(folder, "git", "status", "--porcelain").output
    assert not re.search(r" (shop|accounts|api|basket|README)", changed), changed
    assert not (folder / "api/templates").exists() and not (folder / "mysite").exists()
    assert not (folder / "demo").exists() and not (folder / "variants/kafka").exists()
    # Generated files have the new variable of the stack and that of the team.
    for name in (".env.sample", "docs/environment.md"):
        text = (folder / name).read_text()
        assert "SITE_PORT" in text and "SHOP_LIMIT" in text and "HTTP_PORT" not in text, name
    for lock in LOCKS:
        assert PACKAGE in (folder / lock).read_text(), lock
    assert "amqp==99." in (folder / "requirements/base.txt").read_text()
    assert "make lock" in output and "CHANGELOG.md" in output


def test_update_conflicts_only_in_the_edited_file_of_the_stack(projects: tuple[Path, Path]) -> None:
    _, folder = projects
    output = update_project(folder).output

    assert list_conflicts(folder) == ["manage.py"]
    conflict = (folder / "manage.py").read_text().partition("    main()\n")[2]
    assert conflict == (
        "<<<<<<< before updating\n# Ours\n=======\n"
        f"# {NOTE.replace('mysite', 'shop')}\n>>>>>>> after updating\n"
    )
    assert "run `./manage.py env write` after step 1" in output
    # Edits in other parts of a file are merged.
    makefile = (folder / "Makefile").read_text()
    assert "# Ours\nrun: " in makefile and NOTE.replace("mysite", "shop") in makefile


def test_tests_of_a_project_pass_after_an_update(updated: tuple[Path, str]) -> None:
    """The project's own tests and the smoke test of the stack."""
    folder, _ = updated
    (folder / ".venv").symlink_to(sys.prefix)
    # The users of the containers read the mounted files.
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)

    tests = ("accounts", "api", "basket/tests.py", "tests")
    output = run_command(folder, sys.executable, "-m", "pytest", "-q", *tests).output

    assert " passed" in output and "skipped" not in output and "failed" not in output
