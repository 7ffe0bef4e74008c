"""Commands of the docs in the clone of `make run`, as they are written there."""

from pathlib import Path

from tests import documents, terminal
from tests.embedded.test_run import environment, running_site
from tests.ports import free_port
from tests.tree import ROOT

PASSWORD = "secret-of-the-test"


def run(clone: Path, command: str, *changes: tuple[str, str], typed: str = "") -> str:
    """Run a command of the docs, and return its output."""
    variables = environment(free_port())
    return documents.run_documented(clone, variables, command, dict(changes), typed=typed)


def test_make_tasks_do_what_the_docs_say(clone: Path) -> None:
    # It also installs, where this test runs alone.
    assert "no issues" in run(clone, 'make manage ARGS="NAME"', ("NAME", "check"))
    run(clone, "./manage.py migrate")
    assert "answer 42" in run(clone, "make shell", typed="print('answer', 6 * 7)")
    run(clone, "make seed")
    assert " passed" in run(clone, "make test-app APP=shop", ("shop", "accounts"))
    assert "make test-app" in run(clone, "make help")


def test_make_dockerfile_writes_what_is_committed(clone: Path) -> None:
    (clone / "Dockerfile").unlink()
    run(clone, "make dockerfile")
    assert (clone / "Dockerfile").read_text() == (ROOT / "Dockerfile").read_text()


def test_management_commands_use_the_database_of_make_run(clone: Path) -> None:
    run(clone, "./manage.py migrate")
    assert "No migrations to apply" in run(clone, "./manage.py migrate")
    assert "No changes detected" in run(clone, "./manage.py makemigrations --check")
    assert "valid for the local layer" in run(clone, "./manage.py env check")
    shown = terminal.answer(
        documents.documented("./manage.py createsuperuser").split(),
        {"Username": "me", "Email": "", "Password:": PASSWORD, "again": PASSWORD},
        folder=clone,
        environment=environment(free_port()),
    )
    assert "Superuser created successfully" in shown


def test_make_run_answers_in_the_language_of_the_variable(clone: Path) -> None:
    documents.documented("DJANGO_LANGUAGE_CODE=de make run")
    with running_site(clone, seconds=30, DJANGO_LANGUAGE_CODE="de") as site:
        assert '<html lang="de"' in site.get("/accounts/login/").text
