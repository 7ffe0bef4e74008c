"""Commands of the docs for the local layer, as they are written there."""

import json  # remove_demo
import sys
from collections.abc import Iterator

import pytest

from demo.tests.images import make_image  # remove_demo
from tests import terminal
from tests.documents import documented
from tests.stack.compose import Stack
from tests.waiting import eventually

PASSWORD = "secret-of-tests"
FORGET = (
    "import django; django.setup()\n"
    "from django.contrib.auth import get_user_model\n"
    "users = get_user_model().objects.filter(username__in=['me', 'you'])\n"
    "print(users.filter(is_superuser=True).count()); users.delete()"
)


@pytest.fixture(scope="module")
def superusers(local: Stack) -> Iterator[None]:
    """Create superusers at a terminal, and remove them afterwards."""
    for name, command in {
        "me": "docker compose exec server1 ./manage.py createsuperuser",
        "you": "./stackctl exec server ./manage.py createsuperuser",
    }.items():
        program = documented(command).replace("./stackctl", f"{sys.executable} -m tools.stackctl")
        shown = terminal.answer(
            program.split(),
            {"Username": name, "Email": "me@example.com", "Password:": PASSWORD, "again": PASSWORD},
            folder=local.tree,
            environment=local.environment,
        )
        assert "Superuser created successfully" in shown
    yield
    assert local.python_in("server1", FORGET) == "2"


def test_created_superuser_gets_a_token(local: Stack, superusers: None) -> None:
    answer = local.post("/api/token/", data={"username": "me", "password": PASSWORD})

    assert len(answer.json()["token"]) == 40


# remove_demo: begin
@pytest.mark.usefixtures("superusers")
def test_image_is_uploaded_and_listed_by_the_commands_of_the_docs(local: Stack) -> None:
    port = {"localhost:8080": f"localhost:{local.http_port}"}
    sign_in = "curl -s localhost:8080/api/token/ -d username=me -d password=secret"
    password = {"password=secret": f"password={PASSWORD}"}
    token = local.run_documented(f"{sign_in} | cut -d '\"' -f 4", {**port, **password}).strip()
    (local.tree / "holiday.jpg").write_bytes(make_image())

    own = 'curl -s localhost:8080/api/uploads/ -H "Authorization: Token $token"'
    mine = {**port, "$token": token}
    stored = json.loads(local.run_documented(f"{own} -F image=@holiday.jpg", mine))
    listed = json.loads(local.run_documented(own, mine))
    assert [upload["id"] for upload in listed["results"]] == [stored["id"]]
    (local.tree / "holiday.jpg").unlink()


# remove_demo: end
def test_profile_is_one_word_for_a_shell(local: Stack) -> None:
    port = {"localhost:8080": f"localhost:{local.http_port}"}
    shown = local.run_documented("curl 'localhost:8080/profile/?format=txt'", port)
    assert shown.endswith("local\n")


def test_seed_runs_in_a_server(local: Stack) -> None:
    apps = [file.parent.name for file in local.tree.glob("*/seed.py")]
    command = "./stackctl exec server ./manage.py seed"
    shown = local.run_documented(command, code=0 if apps else 1)
    expected = [f"{app}: " for app in apps] or ["no app has a seed.py"]
    assert all(words in shown for words in expected)


def test_test_mail_is_on_the_page_of_mails(local: Stack) -> None:
    local.run_documented("docker compose exec server1 ./manage.py sendtestemail me@example.com")
    eventually(
        lambda: "to me@example.com" in local.get("/status/mails/").text,
        seconds=30,
        what="the mail is on the page",
    )
