"""`copier copy`: a new project has its own name, and only the parts that it selected."""

import re
import sys
from pathlib import Path

import pytest

from tests.adopt.store import create_store
from tests.adopt.template import (
    commit,
    copy_template,
    create_template,
    run_command,
    update_project,
)
from tests.tree import copy_tree
from tools.tailor import names

# Words that only files of this part may contain.
PART_WORDS = {
    "apache": r"apache(?!/kafka)(?<!kafka.apache)|httpd",
    "asgi": r"asgi(?!ref)|uvicorn|websocket",
    "beanstalk": r"beanstalk|ebctl|ebextensions|\.platform\b|\bRDS_",
    "demo": r"\bdemo\b|api/hits|api/uploads|thumbnail|pillow|megapixel|visit counter",
    "gunicorn": r"gunicorn",
    "kafka": r"kafka",
    "mysql": r"mysql|mariadb",
    "nginx-balancer": r"nginx.balancer|nginx as (a|the) (load )?balancer",
    "postgres": r"postgres|psql|psycopg|libpq|pg_",
    "rabbitmq": r"rabbit",
    "swarm": r"swarm",
}
# Words that only this repository may contain.
TEMPLATE_WORDS = r"mysite|remove_[a-z-]+($| -->|: (begin|end))|benchmarks|mutants"
ALL_VARIANTS = "[apache, asgi, nginx-balancer, swarm]"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    return create_template(tmp_path_factory.mktemp("template") / "source")


@pytest.mark.parametrize(
    ("name", "answers", "kept"),
    [
        ("shop", {}, {"mysql"}),
        ("shop", {"database": "postgres", "broker": "rabbitmq"}, {"postgres", "rabbitmq"}),
        # The longest name allowed, which also sorts before all others.
        (
            "a_book_club_of_sixty",
            {"broker": "kafka", "variants": ALL_VARIANTS, "beanstalk": "true"},
            {
                *("mysql", "kafka", "apache", "asgi", "gunicorn", "nginx-balancer", "swarm"),
                "beanstalk",
            },
        ),
    ],
    ids=["default", "postgres-rabbitmq", "all-variants"],
)
def test_new_project_has_its_parts_and_no_word_of_the_others(
    template: str, tmp_path: Path, name: str, answers: dict[str, str], kept: set[str]
) -> None:
    folder = tmp_path / name
    copy_template(template, folder, {"name": name, **answers})

    commit(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    unexpected = find_words(folder, TEMPLATE_WORDS)
    for part in set(PART_WORDS) - kept:
        unexpected += find_words(folder, PART_WORDS[part])
    assert unexpected == []
    for part in kept:
        assert find_words(folder, PART_WORDS[part]), part
    run_command(folder, "tests/lint")
    run_command(folder, sys.executable, "manage.py", "env", "write", "--check")
    run_command(folder, "docker", "compose", "config", "--quiet")
    commands = run_command(folder, "make", "--dry-run", "test", "run").output
    assert ".venv/bin/pytest accounts api tests\n" in commands
    assert_links_exist(folder)


def find_words(folder: Path, pattern: str) -> list[str]:
    """Return the lines and file names of a project that match."""
    files = run_command(folder, "git", "ls-files").output
    lines = run_command(
        folder, "git", "grep", "-nIiP", pattern, "--", ":!.copier-answers.yml", check=False
    )
    return [*lines.output.splitlines(), *re.findall(rf".*(?:{pattern}).*", files, re.I)]


def assert_links_exist(folder: Path) -> None:
    """Assert that each link of the docs points to an existing file."""
    for page in [folder / "README.md", *folder.rglob("docs/*.md"), *folder.glob("variants/*/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(folder)}: {link}"


def test_new_project_keeps_the_demo_on_request(template: str, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    copy_template(template, folder, {"name": "gallery", "demo": "true"})
    commit(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".git/info/exclude").write_text(".venv\n")

    run_command(folder, "tests/lint")
    run_command(folder, sys.executable, "-m", "pytest", "-q", "-x", "accounts", "api", "demo")
    done = run_command(folder, sys.executable, "manage.py", "remove_demo")
    commit(folder)

    # An update would bring it back.
    assert "demo: false\n" in (folder / ".copier-answers.yml").read_text()
    next_step = re.findall("make (.+)", done.output)
    assert next_step, done.output
    run_command(folder, "make", "--dry-run", *next_step[0].split())

    assert find_words(folder, PART_WORDS["demo"]) == []
    run_command(folder, "tests/lint")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-shop", "is not a valid project name. Use a Python identifier"),
        ("Shop", "is not a valid project name. Use a Python identifier"),
        ("2shop", "is not a valid project name. Use a Python identifier"),
        ("class", "is not a valid project name. Use a Python identifier"),
        ("shop_", "is not a valid project name. Use a Python identifier"),
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
def test_invalid_or_used_project_name_is_refused(name: str, reason: str) -> None:
    files = {
        "ops/apps.py": b"import rest_framework\nfrom django import apps\n",
        "requirements/base.txt": b"django-debug-toolbar==1 \\\npsycopg==3 \\\n",
    }

    fault = names.fault(name, files)

    assert reason in fault and bool(reason) == bool(fault)


@pytest.mark.parametrize(
    ("name", "reason"), [("my-shop", "not a valid project name"), ("redis", "folder of the stack")]
)
def test_refused_project_name_creates_no_files(
    template: str, tmp_path: Path, name: str, reason: str
) -> None:
    done = copy_template(template, tmp_path / "new", {"name": name}, check=False)

    assert done.code != 0
    assert reason in done.output and "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["databse=postgres", "adopt=.."])
def test_answer_to_an_unknown_question_creates_no_files(
    template: str, tmp_path: Path, answer: str
) -> None:
    name, _, value = answer.partition("=")
    done = copy_template(template, tmp_path / "shop", {name: value}, check=False)

    assert done.code != 0 and "Traceback" not in done.output
    assert f"tailor: there is no question {name}. There are: project, settings" in done.output
    assert list(tmp_path.iterdir()) == []


def test_template_without_git_creates_no_files(tmp_path: Path) -> None:
    source = copy_tree(tmp_path / "source")
    done = copy_template(str(source), tmp_path / "shop", {}, check=False)

    assert done.code != 0 and "Traceback" not in done.output
    assert "tailor: `git ls-files -z` failed: fatal: not a git repository" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_project_from_a_relative_path_can_be_updated(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_command(tmp_path, "git", "clone", "--quiet", template.removeprefix("git+"), "source")
    monkeypatch.setenv("PWD", str(tmp_path))  # as a shell does
    copy_template("source", tmp_path / "shop", {})
    commit(tmp_path / "shop")

    update_project(tmp_path / "shop", "--data", "beanstalk=true")

    assert (tmp_path / "shop/.ebextensions").is_dir()
    answers = (tmp_path / "shop/.copier-answers.yml").read_text()
    assert f'_src_path: "{tmp_path / "source"}"\n' in answers


def test_existing_project_is_adopted_by_copier(template: str, tmp_path: Path) -> None:
    folder = create_store(tmp_path / "store")

    copy_template(template, folder / "stack", {"project": "..", "name": "bakery_stack"})

    assert run_command(folder, "git", "status", "--porcelain").output == "?? stack/\n"
    assert (folder / "stack/bakery_stack/settings/base.py").is_file()
    run_command(folder / "stack", "docker", "compose", "config", "--quiet")


def test_folder_with_files_is_refused_and_left_unchanged(template: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n")

    done = copy_template(template, tmp_path, {"name": "shop"}, check=False)

    assert done.code != 0
    assert "is not empty: it has notes.txt. Name a folder that does not exist" in done.output
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
