"""`copier copy`: a new project has its name and its parts, and no word of the others."""

import re
import sys
from pathlib import Path

import pytest

from tests.adopt.template import commit, copy, run, template_of
from tests.tree import copy_tree
from tools.tailor import names

# What only a part has, whatever file of a project.
WORDS = {
    "apache": r"apache(?!/kafka)(?<!kafka.apache)|httpd",
    "beanstalk": r"beanstalk|ebctl|ebextensions|\.platform\b|\bRDS_",
    "demo": r"\bdemo\b|api/hits|api/uploads|thumbnail|pillow|megapixel|visit counter",
    "gunicorn": r"gunicorn",
    "kafka": r"kafka",
    "mysql": r"mysql|mariadb",
    "nginx-balancer": r"nginx.balancer|nginx as (a|the) (load )?balancer",
    "postgres": r"postgres|psql|psycopg|libpq|pg_",
    "rabbitmq": r"rabbit",
}
# What only this repository has.
OWN = r"mysite|remove_[a-z-]+($| -->|: (begin|end))|benchmarks|mutants"
ALL_VARIANTS = "[apache, gunicorn, nginx-balancer]"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    return template_of(tmp_path_factory.mktemp("template") / "source")


@pytest.mark.parametrize(
    ("name", "answers", "kept"),
    [
        ("shop", {}, {"mysql"}),
        ("shop", {"database": "postgres", "broker": "rabbitmq"}, {"postgres", "rabbitmq"}),
        # The longest name, and one that is sorted before all others.
        (
            "a_book_club_of_sixty",
            {"broker": "kafka", "variants": ALL_VARIANTS, "beanstalk": "true"},
            {"mysql", "kafka", "apache", "gunicorn", "nginx-balancer", "beanstalk"},
        ),
    ],
    ids=["default", "postgres-rabbitmq", "all-variants"],
)
def test_project_has_its_parts_and_no_word_of_the_others(
    template: str, tmp_path: Path, name: str, answers: dict[str, str], kept: set[str]
) -> None:
    folder = tmp_path / name
    copy(template, folder, {"name": name, **answers})

    commit(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    found = words(folder, OWN)
    for part in set(WORDS) - kept:
        found += words(folder, WORDS[part])
    assert found == []
    for part in kept:
        assert words(folder, WORDS[part]), part
    run(folder, "tests/lint")
    run(folder, sys.executable, "manage.py", "env", "write", "--check")
    run(folder, "docker", "compose", "config", "--quiet")
    said = run(folder, "make", "--dry-run", "test", "run").output
    assert ".venv/bin/pytest accounts api tests\n" in said
    links(folder)


def words(folder: Path, pattern: str) -> list[str]:
    """Return the lines of a project that match, its names of files too."""
    files = run(folder, "git", "ls-files").output
    lines = run(folder, "git", "grep", "-nIiP", pattern, "--", ":!.copier-answers.yml", check=False)
    return [*lines.output.splitlines(), *re.findall(rf".*(?:{pattern}).*", files, re.I)]


def links(folder: Path) -> None:
    """Assert that each link of the docs leads to a file."""
    for page in [folder / "README.md", *folder.rglob("docs/*.md"), *folder.glob("variants/*/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(folder)}: {link}"


def test_demo_is_kept_on_request(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    copy(template, folder, {"name": "gallery", "demo": "true"})
    commit(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".git/info/exclude").write_text(".venv\n")

    run(folder, "tests/lint")
    run(folder, sys.executable, "-m", "pytest", "-q", "-x", "accounts", "api", "demo")
    run(folder, sys.executable, "manage.py", "remove_demo")
    commit(folder)

    assert words(folder, WORDS["demo"]) == []
    run(folder, "tests/lint")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-shop", "is no name for a project. Use a Python identifier"),
        ("Shop", "is no name for a project. Use a Python identifier"),
        ("2shop", "is no name for a project. Use a Python identifier"),
        ("class", "is no name for a project. Use a Python identifier"),
        ("shop_", "is no name for a project. Use a Python identifier"),
        ("a" * 21, "is too long for a project's name: use 20 characters at most"),
        ("test", "is a module of Python's standard library"),
        ("ops", "is a folder of the stack"),
        ("django", "is a package that the stack imports"),
        ("rest_framework", "is a package that the stack imports"),
        ("debug_toolbar", "is a package that the stack imports"),
        ("psycopg", "is a package that the stack imports"),
        ("template1", "is a user or group of the images"),
        ("news", "is a user or group of the images"),
        ("shop", ""),
        ("mysite", ""),
    ],
)
def test_a_name_that_something_else_has_is_refused(name: str, reason: str) -> None:
    files = {
        "ops/apps.py": b"import rest_framework\nfrom django import apps\n",
        "requirements/base.txt": b"django-debug-toolbar==1 \\\npsycopg==3 \\\n",
    }

    found = names.fault(name, files)

    assert reason in found and bool(reason) == bool(found)


@pytest.mark.parametrize(
    ("name", "reason"), [("my-shop", "no name for a project"), ("redis", "folder of the stack")]
)
def test_a_refused_name_makes_nothing(
    template: str, tmp_path: Path, name: str, reason: str
) -> None:
    done = copy(template, tmp_path / "new", {"name": name}, check=False)

    assert done.code != 0
    assert reason in done.output and "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["databse=postgres", "adopt=.."])
def test_an_answer_to_no_question_makes_nothing(template: str, tmp_path: Path, answer: str) -> None:
    name, _, value = answer.partition("=")
    done = copy(template, tmp_path / "shop", {name: value}, check=False)

    assert done.code != 0 and "Traceback" not in done.output
    assert f"tailor: there is no question {name}. There are: project, settings" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_git_makes_nothing(tmp_path: Path) -> None:
    source = copy_tree(tmp_path / "source")
    done = copy(str(source), tmp_path / "shop", {}, check=False)

    assert done.code != 0 and "Traceback" not in done.output
    assert "tailor: `git ls-files -z` failed: fatal: not a git repository" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_with_files_is_refused_and_stays_as_it_is(template: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n")

    done = copy(template, tmp_path, {"name": "shop"}, check=False)

    assert done.code != 0
    assert "is not empty: it has notes.txt. Name a folder that does not exist" in done.output
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
