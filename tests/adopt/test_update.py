"""`copier update`: a later version, in a project with a name, parts and commits of its own."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.adopt.template import commit, copy, run, template_of, update
from tests.tree import ROOT

# Files of the stack that the second version changes, of all kinds.
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
    *("ops/apps.py", "ops/cache.py", "ops/celery.py", "tools/stackctl/cli.py"),
    *("requirements/lock", "ops/environment/broker.py"),
)
REMOVED = ".devcontainer/devcontainer.json"
NOTE = "A line of the second version, by mysite."
VARIABLE = '    Variable(name="SHOP_LIMIT", help="Items in a basket.", default="20"),\n'
# A package that the images do not have yet, and the tests' environment has.
PACKAGE = re.findall(
    r"^iniconfig==.*\n(?:    .*\n)+", (ROOT / "requirements/test.txt").read_text(), re.MULTILINE
)[0]
URL = 'path("", include("basket.urls"))'
LOCKS = [f"requirements/{name}.txt" for name in ("base", "embedded", "local", "production", "test")]
# The team's app: its first model, page and test.
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


def work_of_a_team(folder: Path) -> None:
    """Commit what a team adds to its own files, as docs/your-app.md says."""
    commit(folder)
    (folder / "basket").mkdir()
    (folder / "basket/__init__.py").write_text('"""The demo of mysite, with Kafka."""\n')
    commit(folder)
    replace(folder / "shop/settings/base.py", "APPS = [", 'APPS = [\n    "basket",')
    commit(folder)
    declared = f"VARIABLES: Final = (\n{VARIABLE})"
    replace(folder / "shop/environment.py", "VARIABLES: Final[tuple[Variable, ...]] = ()", declared)
    run(folder, sys.executable, "manage.py", "env", "write")
    commit(folder)
    (folder / "requirements/project.in").write_text("iniconfig\n")
    for lock in LOCKS:
        path = folder / lock
        path.write_text(PACKAGE + path.read_text().replace(PACKAGE, ""))
    commit(folder)
    run(folder, "git", "rm", "-r", "--quiet", "api/templates")
    commit(folder)
    replace(folder / "accounts/models.py", '"""', '"""Ours. ')
    commit(folder)
    (folder / "basket/models.py").write_text(APP["models.py"])
    run(folder, sys.executable, "manage.py", "makemigrations", "basket")
    commit(folder)
    (folder / "basket/urls.py").write_text(APP["urls.py"])
    replace(folder / "shop/urls.py", "urlpatterns = [", f"urlpatterns = [\n    {URL},")
    commit(folder)
    (folder / "basket/tests.py").write_text(APP["tests.py"])
    commit(folder)


def second_version(source: Path) -> None:
    """Change twenty files of the stack, one of a team's, a variable and a lock; add and remove."""
    for name in CHANGED:
        path = source / name
        path.write_text(f"{path.read_text()}# {NOTE}\n")
    for name in run(source, "git", "grep", "-lIw", "HTTP_PORT").output.split():
        path = source / name
        path.write_text(re.sub(r"\bHTTP_PORT\b", "SITE_PORT", path.read_text()))
    replace(source / "accounts/models.py", '"""', '"""Theirs. ')
    replace(source / "requirements/base.txt", "amqp==", "amqp==99.")
    (source / "ops/added.py").write_text(f'"""{NOTE}"""\n')
    (source / REMOVED).unlink()
    run(source, sys.executable, "manage.py", "env", "write")
    commit(source, tag="v2.0.0")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One of a team that kept to its own files, one of a team that edited the stack's."""
    folder = tmp_path_factory.mktemp("update")
    source, own, edited = folder / "source", folder / "own", folder / "edited"
    copy(template_of(source), own, {"name": "shop", "database": "postgres", "broker": "rabbitmq"})
    work_of_a_team(own)
    shutil.copytree(own, edited)
    replace(edited / "manage.py", '__main__":\n    main()\n', '__main__":\n    main()\n# Ours\n')
    replace(edited / "Makefile", "\nrun: ", "\n# Ours\nrun: ")
    commit(edited)
    second_version(source)
    return own, edited


def unmerged(folder: Path) -> list[str]:
    """Return the files with conflicts, by git and by their content."""
    by_git = run(folder, "git", "diff", "--name-only", "--diff-filter=U").output.split()
    marked = run(folder, "git", "grep", "-l", "^<<<<<<<", check=False).output.split()
    assert sorted(by_git) == sorted(marked)
    return by_git


@pytest.fixture(scope="module")
def updated(projects: tuple[Path, Path]) -> tuple[Path, str]:
    """The project of the former, on the second version, and what the update printed."""
    folder, _ = projects
    assert run(folder, "git", "rev-list", "--count", "HEAD").output == "10\n"
    return folder, update(folder).output


def test_a_team_that_kept_to_its_own_files_gets_no_conflict(updated: tuple[Path, str]) -> None:
    folder, said = updated

    assert unmerged(folder) == []
    assert not list(folder.rglob("*.rej"))
    for name in CHANGED:
        path = folder / name
        assert NOTE.replace("mysite", "shop") in path.read_text(), name
    assert (folder / "ops/added.py").exists() and not (folder / REMOVED).exists()
    # The team's files, and what it left out.
    changed = run(folder, "git", "status", "--porcelain").output
    assert not re.search(r" (shop|accounts|api|basket|README)", changed), changed
    assert not (folder / "api/templates").exists() and not (folder / "mysite").exists()
    assert not (folder / "demo").exists() and not (folder / "variants/kafka").exists()
    # What is generated has the version's variable and the team's.
    for name in (".env.sample", "docs/environment.md"):
        text = (folder / name).read_text()
        assert "SITE_PORT" in text and "SHOP_LIMIT" in text and "HTTP_PORT" not in text, name
    for lock in LOCKS:
        assert PACKAGE in (folder / lock).read_text(), lock
    assert "amqp==99." in (folder / "requirements/base.txt").read_text()
    assert "make lock" in said and "CHANGELOG.md" in said


def test_an_edited_file_of_the_stack_has_the_only_conflict(projects: tuple[Path, Path]) -> None:
    _, folder = projects
    said = update(folder).output

    assert unmerged(folder) == ["manage.py"]
    conflict = (folder / "manage.py").read_text().partition("    main()\n")[2]
    assert conflict == (
        "<<<<<<< before updating\n# Ours\n=======\n"
        f"# {NOTE.replace('mysite', 'shop')}\n>>>>>>> after updating\n"
    )
    assert "run `./manage.py env write` after step 1" in said
    # An edit elsewhere in a file is merged.
    makefile = (folder / "Makefile").read_text()
    assert "# Ours\nrun: " in makefile and NOTE.replace("mysite", "shop") in makefile


def test_tests_of_a_new_project_pass_after_an_update(updated: tuple[Path, str]) -> None:
    """Its own, and the stack's smoke test: probes, static files, sign-in, a deploy under load."""
    folder, _ = updated
    (folder / ".venv").symlink_to(sys.prefix)
    # The containers' users read the files that are mounted.
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)

    tests = ("accounts", "api", "basket/tests.py", "tests")
    said = run(folder, sys.executable, "-m", "pytest", "-q", *tests).output

    assert " passed" in said and "skipped" not in said and "failed" not in said
