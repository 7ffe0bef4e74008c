"""An existing project, unmodified, on the whole stack (docs/adopt.md)."""

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat

import pytest
import requests

from tests.adopt.store import ANSWERS, start
from tests.chaos.load import Client, Load, Request
from tests.stack.compose import STACK_NAME
from tests.stack.stackctl.site import QUICK, Site, cleared, git
from tests.tree import ROOT

PASSWORD = secrets.token_urlsafe(12)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The project's stack in production."""
    folder = start(tmp_path_factory.mktemp("adopt") / "store")
    stack = folder / "stack"
    stack.mkdir()
    subprocess.run(
        [
            *(sys.executable, "-B", str(ROOT / "tools/tailor")),
            *(json.dumps(ANSWERS), ".copier-answers.yml", "copy", "{}"),
        ],
        cwd=stack,
        check=True,
    )
    assert git(folder, "status", "--porcelain") == "?? stack/"
    # What `make lock` would resolve again: its packages are some of the stack's.
    for path in (ROOT / "requirements").glob("*.txt"):
        shutil.copy(path, stack / "requirements")
    # The containers' users read what is mounted.
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the stack")
    adopted = Site(
        stack,
        f"{STACK_NAME}-adopt",
        DRAIN_SECONDS="1",
        DJANGO_SUPERUSER_USERNAME="ann",
        DJANGO_SUPERUSER_EMAIL="ann@example.com",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    with cleared(adopted):
        adopted.ctl("up")
        yield adopted


def test_its_pages_come_from_both_servers_with_hashed_static_files(adopted: Site) -> None:
    adopted.wait_for_both()
    page = adopted.get("/")
    assert page.status_code == 200 and page.text.endswith(">The store\n")
    assert "Content-Security-Policy-Report-Only" in page.headers
    admin = adopted.get("/admin/login/").text
    for text, name in ((page.text, "store"), (admin, "base")):
        (style,) = re.findall(rf'href="(/static/[\w/]*{name}\.[0-9a-f]{{12}}\.css)"', text)
        answer = adopted.get(style, headers={"Accept-Encoding": "br"})
        assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "br")
        assert "immutable" in answer.headers["Cache-Control"]


def test_its_api_writes_to_the_stack_s_database_and_media(adopted: Site) -> None:
    def books(**options: object) -> requests.Response:
        return adopted.get("/api/books/", **options)

    answer = adopted.post(
        "/api/books/",
        auth=("ann", PASSWORD),
        data={"title": "Emma"},
        files={"cover": ("emma.txt", b"a cover")},
    )
    assert answer.status_code == 201, answer.text[:500]
    assert adopted.get("/media/covers/emma.txt").content == b"a cover"
    assert {books(headers={"Accept": "application/json"}).json()[0]["title"] for _ in "1234"} == {
        "Emma"
    }
    code = (
        "import django; django.setup()\nfrom django.db import connection\n"
        "from api.models import Book\nprint(connection.vendor, Book.objects.count())"
    )
    assert adopted.python_in("server2", code) == "mysql 1"
    assert adopted.get("/healthz").json()["status"] == "up"


def test_a_deploy_of_its_change_fails_no_request(adopted: Site) -> None:
    with adopted.edited("../templates/home.html", "The store", "Our store") as release:
        pages = [repeat(Request("GET", path)) for path in ("/", "/api/books/?format=json") * 2]
        clients = [Client(page, keep_alive=number < 2) for number, page in enumerate(pages)]
        with Load(adopted.http_port, clients) as load:
            load.warm_up()
            adopted.ctl("deploy", *QUICK)
        assert not load.failed, load.summary()
        adopted.whole_on(release)
        assert all(adopted.get("/").text.endswith(">Our store\n") for _ in range(4))


def test_its_database_and_media_are_in_a_backup_that_loads(adopted: Site) -> None:
    saved = adopted.ask("backup", "--verify")
    assert saved["verified"] and saved["code"] == 0
