"""`copier update`: a later version, in a project with a name, parts and commits of its own."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.adopt.template import commit, copy, run, template_of, update

# Files of the stack that the second version changes, of all kinds.
CHANGED = (
    *("Dockerfile.base", "Makefile", "docker-compose.yaml", "docker-compose.common.yaml"),
    *("haproxy/haproxy.cfg", "nginx/nginx.conf", "supervisor/entrypoint", "redis/redis.conf"),
    *("mysql/start", "conftest.py", "manage.py", "stackctl", "tests/lint", "pyproject.toml"),
    *("ops/apps.py", "ops/cache.py", "ops/celery.py", "tools/stackctl/cli.py"),
    *("requirements/lock", "ops/environment/broker.py"),
)
NOTE = "A line of the second version, by mysite."
VARIABLE = '    Variable(name="SHOP_LIMIT", help="Items in a basket.", default="20"),\n'
PACKAGE = "aardvark==1.2 \\\n    --hash=sha256:00\n"
LOCKS = [f"requirements/{name}.txt" for name in ("base", "embedded", "local", "production", "test")]


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
    (folder / "requirements/project.in").write_text("aardvark\n")
    for lock in LOCKS:
        (folder / lock).write_text(PACKAGE + (folder / lock).read_text())
    commit(folder)
    run(folder, "git", "rm", "-r", "--quiet", "api/templates")
    replace(folder / "accounts/models.py", '"""', '"""Ours. ')
    commit(folder)


def second_version(source: Path) -> None:
    """Change twenty files of the stack, one of a team's, a variable and a lock; add and remove."""
    for name in CHANGED:
        path = source / name
        path.write_text(f"{path.read_text()}# {NOTE}\n")
    replace(source / "ops/environment/contract/stack.py", '"HTTP_PORT"', '"SITE_PORT"')
    replace(source / "accounts/models.py", '"""', '"""Theirs. ')
    replace(source / "requirements/base.txt", "amqp==", "amqp==99.")
    (source / "ops/added.py").write_text(f'"""{NOTE}"""\n')
    (source / "ops/schema.py").unlink()
    run(source, sys.executable, "manage.py", "env", "write")
    commit(source, tag="v2.0.0")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One of a team that kept to its own files, one of a team that edited the stack's."""
    folder = tmp_path_factory.mktemp("update")
    source, own, edited = folder / "source", folder / "own", folder / "edited"
    copy(template_of(source), own, {"name": "shop", "broker": "rabbitmq"})
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


def test_a_team_that_kept_to_its_own_files_gets_no_conflict(projects: tuple[Path, Path]) -> None:
    folder, _ = projects
    said = update(folder).output

    assert unmerged(folder) == []
    assert not list(folder.rglob("*.rej"))
    for name in CHANGED:
        path = folder / name
        assert NOTE.replace("mysite", "shop") in path.read_text(), name
    assert (folder / "ops/added.py").exists() and not (folder / "ops/schema.py").exists()
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
    assert "\namqp==99." in (folder / "requirements/base.txt").read_text()
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
