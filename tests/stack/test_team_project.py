"""A team's app in a clone and its stack, as docs/your-app.md describes."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME
from tests.stack.stackctl.site import QUICK, Site, removed_afterwards, visitors
from tests.stack.team import Team, create_team_project, documented_file_counts, run
from tests.tree import copy_tree  # remove_demo
from tests.waiting import eventually

# Unit tests that read the tree, the settings, the environment, the API and the status page; a
# team's additions must not fail them.
UNIT_TESTS = (
    "consistency_tree",
    "documented_commands",
    "environment_check",
    "environment_combinations",
    "environment_names",
    "environment_ports",
    "environment_render",
    "environment_secrets",
    "settings_layers",
    "settings_table",
    "readme",
    "api_schema",
    "api_status",
    "registry",
)
KEY = secrets.token_urlsafe(8)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Create a clone with the app of a team."""
    return create_team_project(tmp_path_factory.mktemp("team") / "site")


@pytest.fixture(scope="module")
def deployed(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the production stack of the clone, with the team's secret in a file."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text(f"{KEY}\n")
    deployed = Site(team.folder, f"{STACK_NAME}-team", SHOP_API_KEY_FILE=str(key))
    with removed_afterwards(deployed):
        deployed.ctl("up")
        yield deployed


def test_each_extension_edits_as_many_files_as_the_docs_say(team: Team) -> None:
    documented = documented_file_counts()
    assert {name: documented.pop(name) for name in team.files} == team.files
    # All others edit no file outside of the app.
    assert set(documented.values()) == {(0, 0)}


def test_lint_and_unit_tests_of_the_team_project_pass(team: Team) -> None:
    run(team.folder, "tests/lint")
    files = [f"tests/unit/test_{name}.py" for name in UNIT_TESTS]
    pytest_here = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    run(team.folder, *pytest_here, "accounts", "shop", *files)
    # All other tests can be collected.
    run(team.folder, *pytest_here, "--collect-only", "tests")


def test_make_test_app_includes_the_app(team: Team) -> None:
    output = run(team.folder, "make", "--no-print-directory", "--dry-run", "test-app")
    assert " shop" in output.splitlines()[-1]
    assert output.splitlines()[-1].split() == [".venv/bin/pytest", "accounts", "api", "shop"]


def test_beanstalk_bundle_has_the_app_and_its_packages(team: Team) -> None:
    """`eb deploy` uploads the output of `git archive`."""
    run(team.folder, "git", "archive", "--output", ".git/bundle.tar", "HEAD")
    names = set(run(team.folder, "tar", "--list", "--file", ".git/bundle.tar").split())
    app = {str(path) for path in tracked(team.folder, "shop")}
    assert app and names >= app | {"requirements/apt.txt", "mysite/environment.py"}


def tracked(folder: Path, name: str) -> list[str]:
    """Return the tracked files of a folder."""
    return run(folder, "git", "ls-files", name).split()


def test_required_secret_is_not_generated_and_env_check_requires_it(
    team: Team, deployed: Site
) -> None:
    manage = (sys.executable, "manage.py", "env")
    output = run(team.folder, *manage, "init", "--layer", "production", "--path", ".git/env")
    assert "SHOP_API_KEY" in output
    assert "\nSHOP_API_KEY=\n" in (team.folder / ".git/env").read_text()

    check = ("run", "--rm", "--no-deps", "env-check")
    refused = deployed.compose(*check, check=False, environment={"SHOP_API_KEY_FILE": ""})
    assert refused.returncode == 1
    assert "SHOP_API_KEY: it is not set, and production requires it" in refused.stdout
    assert "The key of the payment service." in refused.stdout


def test_page_of_the_app_is_the_home_page_in_the_language_of_the_browser(deployed: Site) -> None:
    answer = deployed.get("/", headers={"Accept-Language": "de-AT, en;q=0.5"})
    page = answer.text
    assert page.endswith(">Warenkorb\n")
    assert answer.headers["Content-Language"] == "de"
    assert "Accept-Language" in answer.headers["Vary"]
    assert deployed.get("/").text.endswith(">Basket\n")
    style = page.split('"')[1]
    answer = deployed.get(style)
    assert "navy" in answer.text and "immutable" in answer.headers["Cache-Control"]


def test_variable_and_packages_of_the_app_are_available(deployed: Site) -> None:
    assert deployed.get("/shop/key/").json() == {"xml": f"<key>{KEY[-4:]}</key>", "ldap": 1}
    assert KEY not in deployed.inspect("server1", "{{.Config.Env}}")


def test_migration_task_and_periodic_task_of_the_app_run(deployed: Site) -> None:
    deployed.post("/shop/notes/", data={"text": "bought"}).raise_for_status()

    def notes() -> set[str]:
        return set(deployed.get("/shop/notes/").json()["notes"])

    eventually(lambda: notes() == {"bought", "tick"}, seconds=60, what="both tasks have run")
    # Servers can read the private file of the worker, but nginx does not serve it.
    assert deployed.run_in("server2", "cat", "/srv/private/note") == "bought"
    assert deployed.get("/private/note").status_code == 404
    assert deployed.get("/media/note").status_code == 404


def test_stack_with_the_app_is_healthy(deployed: Site) -> None:
    assert deployed.get("/healthz").json()["status"] == "up"
    assert deployed.get("/status/").status_code == 200


def test_deploy_of_a_changed_page_fails_no_request(deployed: Site) -> None:
    with deployed.edited(
        "shop/views.py", 'gettext("Basket")', 'gettext("Basket").upper()'
    ) as release:
        with visitors(deployed):
            deployed.ctl("deploy", *QUICK)
        deployed.assert_both_run(release)
        assert all(deployed.get("/").text.endswith(">BASKET\n") for _ in range(4))


# remove_demo: begin
# Words that only the demo has.
WORDS = r"\bdemo\b|remove_demo|api/hits|api/uploads|thumbnail|pillow|megapixel|visit counter"
# Files that create new projects, which mention the demo.
NEW_PROJECTS = [
    f":!{name}"
    for name in (
        *("copier.yml", "docs/new-project.md", "tests/adopt", "tests/unit/test_tailor_adopt.py"),
        "tools/tailor",
    )
]


def test_remove_demo_leaves_no_word_of_the_demo(team: Team) -> None:
    assert run(team.folder, "git", "grep", "-niE", WORDS, "--", *NEW_PROJECTS, code=1) == ""


def test_image_contains_nothing_of_the_demo(deployed: Site) -> None:
    code = "import importlib.util as u; print(u.find_spec('PIL'), u.find_spec('demo'))"
    assert deployed.python_in("server1", code) == "None None"
    assert (
        deployed.get("/api/uploads/").status_code == deployed.get("/api/hits/").status_code == 404
    )


def test_remove_demo_refuses_uncommitted_changes(tmp_path: Path) -> None:
    folder = copy_tree(tmp_path / "site")
    run(folder, "git", "init", "--quiet")

    output = run(folder, sys.executable, "manage.py", "remove_demo", code=1)

    assert "uncommitted changes. Commit them" in output and "Traceback" not in output
    assert (folder / "demo").is_dir()


# remove_demo: end
