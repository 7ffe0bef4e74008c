"""An existing project adopts the stack: the copier task, in a startproject repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from tests.adopt.store import ANSWERS
from tests.stack.stackctl.site import git
from tests.tree import ROOT
from tests.unit.forks import run_forked
from tools.tailor import adopt, project

# In one process, so that one project adopts the stack for all tests.
pytestmark = pytest.mark.xdist_group("tailor")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Copy a project whose package and folders have the same names as in the stack."""
    folder = tmp_path_factory.mktemp("project")
    command = (sys.executable, "-P", "-m", "django", "startproject", "mysite", str(folder))
    subprocess.run(command, check=True, cwd=folder)
    for name in ("api/__init__.py", "accounts/__init__.py", "tests/__init__.py", "docs/a.md"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    (folder / "requirements.txt").write_text("Django~=5.2.0\n")
    for name in ("Dockerfile", "docker-compose.yml", "Makefile", "README.md"):
        (folder / name).write_text("yours\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return partial(shutil.copytree, folder)


def commit(folder: Path) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a step")


def tailor(
    stack: Path, operation: str = "copy", **answers: str
) -> subprocess.CompletedProcess[str]:
    """Run the copier task in the folder of the stack."""
    stack.mkdir(exist_ok=True)
    return subprocess.run(
        [
            *(sys.executable, "-B", str(ROOT / "tools/tailor")),
            *(json.dumps({**ANSWERS, **answers}), ".copier-answers.yml", operation, "{}"),
        ],
        cwd=stack,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def adopted(start: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the stack in the project."""
    folder = start(tmp_path_factory.mktemp("team") / "store")
    done = tailor(folder / "stack")
    assert done.returncode == 0, done.stderr
    return folder / "stack"


def test_adoption_adds_only_the_folder_of_the_stack(adopted: Path) -> None:
    assert git(adopted.parent, "status", "--porcelain") == "?? stack/"
    assert not {"api", "accounts", "demo", "benchmarks", "ebctl"} & {
        path.name for path in adopted.iterdir()
    }


def test_adopted_layers_use_the_project_settings(adopted: Path) -> None:
    code = (
        "import store_stack.wsgi; from django.conf import settings; from django.test import Client;"
        "print(settings.PROJECT_URLCONF, settings.AUTH_USER_MODEL, settings.CSP_MODE,"
        " Client(headers={'Host': 'localhost'}).get('/livez').status_code)"
    )
    done = run_forked(
        *("-c", code),
        cwd=adopted,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "store_stack.settings.local"},
    )
    assert done.stdout == "mysite.urls auth.User report-only 200\n", done.stderr


def test_adopted_environment_is_valid_with_the_defaults(adopted: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "env", "check", "--layer", "local"],
        cwd=adopted,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_lint_of_an_adopted_project_passes(adopted: Path) -> None:
    (adopted / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        [adopted / "tests/lint"],
        # mypy knows the packages already where `make lint` ran.
        env={"PATH": os.environ["PATH"], "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    (adopted / ".venv").unlink()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"tests/lint: \d+ files, no fault\n", done.stdout)


def test_adopted_images_are_built_from_project_and_stack(adopted: Path) -> None:
    compose = (adopted / "docker-compose.yaml").read_text()
    assert "context: ..\n      dockerfile: stack/Dockerfile.${LAYER:-local}\n" in compose
    assert "        stack: .\n" in compose
    assert "- ..:/srv/app:ro" in (adopted / "docker-compose.local.yaml").read_text()
    assert "SOURCE_ROOT=/srv/app" in (adopted / "Dockerfile.base").read_text()
    for layer in ("local", "dev", "production"):
        text = (adopted / f"Dockerfile.{layer}").read_text()
        assert text.count("COPY --from=stack . /srv/project\nCOPY . /srv/app\n") == (
            1 if layer == "local" else 2
        )
        assert "\nstack\n" in (adopted / f"Dockerfile.{layer}.dockerignore").read_text()


def test_adopted_requirements_use_the_django_version_of_the_project(adopted: Path) -> None:
    requirements = adopted / "requirements"
    assert (requirements / "project.in").read_text().endswith("-r ../../requirements.txt\n")
    assert "Django~=" not in (requirements / "base.in").read_text()


def test_adopted_image_is_pushed_from_project_and_stack(adopted: Path) -> None:
    """Without the files that the images of the stack leave out."""
    make = ("make", "--dry-run", "push", "IMAGE=shop")
    printed = subprocess.run(make, cwd=adopted, capture_output=True, text=True, check=True).stdout
    assert "--file var/Dockerfile --build-context stack=. ..\n" in printed
    assert "\ncp Dockerfile.production.dockerignore var/Dockerfile.dockerignore\n" in printed
    for layer in ("base", "production"):
        copies = re.findall("^COPY (.*)", (adopted / f"Dockerfile.{layer}").read_text(), re.M)
        assert {line for line in copies if not line.startswith("--from=")} <= {". /srv/app"}


def test_ci_of_an_adopted_project_runs_in_the_folder_of_the_stack(adopted: Path) -> None:
    assert "    working-directory: stack\n" in (adopted / ".github/workflows/ci.yml").read_text()
    assert (adopted / ".gitlab-ci.yml").read_text().count("    - cd stack\n    - make ") == 2


def test_adopted_smoke_test_copies_the_project_too(adopted: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from tests.tree import copy_tree; from tests.smoke import test_stack;"
        "assert not hasattr(test_stack, 'test_token_opens_the_api_and_wrong_password_is_refused');"
        "print(copy_tree(pathlib.Path(sys.argv[1])))"
    )
    command = (sys.executable, "-c", code, str(tmp_path))
    done = subprocess.run(command, cwd=adopted, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/stack\n"
    assert (tmp_path / "mysite/settings.py").exists() and (tmp_path / "stack/stackctl").exists()
    tests = "[.]venv/bin/pytest  tests\n"
    make = subprocess.run(
        ("make", "--dry-run", "test"), cwd=adopted, capture_output=True, text=True, check=True
    )
    assert re.search(tests, make.stdout), make.stdout


@pytest.mark.parametrize("project", ["/srv/site", "../back end", "..x", "backend"])
def test_adoption_refuses_a_project_that_is_no_folder_nearby(tmp_path: Path, project: str) -> None:
    done = tailor(tmp_path / "stack", project=project)
    assert f"project is {project!r}. Use .. or a folder next to" in done.stderr
    assert done.returncode == 1 and not any((tmp_path / "stack").iterdir())


def test_every_text_that_a_part_replaces_exists() -> None:
    """A text that no file contains, in the template or after other parts, would be ignored."""
    names = set(project.tracked(ROOT)) - set(project.TABLES)
    files = {name: (ROOT / name).read_bytes() for name in names}
    parts = project.parts(ROOT)
    template = joined(files.values())
    for part, described in parts.items():
        table = {**parts, part: {**described, "with": [], "without": []}}
        texts = [old for side in ("with", "without") for old, _ in described.get(side, [])]
        if others := [old for old in texts if old not in template]:
            left = joined(
                project.tailored(name, content, table, set()) for name, content in files.items()
            )
            assert [old for old in others if old not in left] == [], part


def joined(contents: Iterable[bytes]) -> str:
    return "\n".join(content.decode(errors="replace") for content in contents)


def test_adoption_update_writes_the_same_files_without_the_project(
    adopted: Path, tmp_path: Path
) -> None:
    """As copier does for the diff of two versions, in an empty folder."""
    done = tailor(tmp_path / "stack", "update")
    assert done.returncode == 0, done.stderr
    differ = {
        path.relative_to(tmp_path / "stack").as_posix()
        for path in (tmp_path / "stack").rglob("*")
        if path.is_file()
        and path.read_bytes() != (adopted / path.relative_to(tmp_path / "stack")).read_bytes()
    }
    # Files of the project: an update does not change them.
    assert differ == {"requirements/project.in", "store_stack/settings/base.py"}


def test_adoption_builds_a_project_in_a_folder_next_to_the_stack(
    start: Callable[[Path], Path], tmp_path: Path
) -> None:
    start(tmp_path / "backend")
    (tmp_path / "backend/.git").rename(tmp_path / ".git")
    commit(tmp_path)
    done = tailor(tmp_path / "stack", project="../backend/")
    assert done.returncode == 0, done.stderr
    compose = (tmp_path / "stack/docker-compose.yaml").read_text()
    assert "context: ../backend\n      dockerfile: ../stack/Dockerfile.${LAYER:-local}\n" in compose
    lines = (tmp_path / "stack/requirements/project.in").read_text()
    assert lines.endswith("-r ../../backend/requirements.txt\n")


def test_adoption_declares_the_variables_of_the_project(
    start: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = start(tmp_path / "store")
    with (folder / "mysite/settings.py").open("a") as file:
        file.write('import os\nKEY = os.environ["SHOP_KEY"]\nSIZE = os.getenv("SHOP_SIZE", "3")\n')
        file.write('SECRET_KEY = os.environ["SITE_KEY"]\n')
    commit(folder)
    assert tailor(folder / "stack").returncode == 0
    compose = (folder / "stack/docker-compose.environment.yaml").read_text()
    assert "SHOP_KEY:" in compose and "SHOP_SIZE:" in compose and "SITE_KEY" not in compose
    assert "SHOP_KEY_FILE" in compose and "SHOP_SIZE_FILE" not in compose
    assert '"SITE_KEY",' in (folder / "stack/store_stack/settings/base.py").read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("new.py", "", "has uncommitted work: new.py. Commit it"),
        ("ops.py", "", "has a module ops"),
        ("manage.py", "", "is not a Django project: it has no manage.py"),
        ("manage.py", "# django\n", "Name them: --data settings=MODULE"),
        ("requirements.txt", "Django==4.2\n", "Django==4.2 is required"),
        ("store_stack/a.py", "", "Choose another name"),
    ],
)
def test_adoption_is_refused_with_one_message(
    start: Callable[[Path], Path], tmp_path: Path, name: str, text: str, message: str
) -> None:
    folder = start(tmp_path / "store")
    (folder / "two").mkdir()
    (folder / "two/settings.py").write_text("INSTALLED_APPS = []\n")
    commit(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    if name != "new.py":
        commit(folder)
    done = tailor(folder / "stack")
    assert done.returncode == 1 and done.stderr.startswith("tailor: ")
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not any((folder / "stack").iterdir())


def test_adoption_knows_which_settings_the_stack_sets() -> None:
    decided = adopt.decided(ROOT)
    for name in ("SECRET_KEY", "CELERY_BROKER_URL", "LOGGING", "SECURE_HSTS_SECONDS"):
        assert decided.fullmatch(name), name
    for name in ("PAYMENT_SECRET_KEY", "EMAIL_HOST", "SECURE_REFERRER_POLICY", "AUTH_USER_MODEL"):
        assert not decided.fullmatch(name), name


def test_adopted_image_has_only_the_client_of_its_database(adopted: Path) -> None:
    for name in ("requirements/production.in", "requirements/production.txt", "Dockerfile.base"):
        text = (adopted / name).read_text()
        assert re.search("mysql|mariadb", text) and not re.search("psycopg|libpq", text), name
