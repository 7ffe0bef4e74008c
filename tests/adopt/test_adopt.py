"""An existing project, unmodified, on the whole stack (docs/adopt.md)."""

from collections.abc import Iterator

import pytest
import requests

from tests.adopt.adopting import (
    PASSWORD,
    USER,
    adopt,
    assert_deployed_under_load,
    assert_hashed_and_compressed,
    restored,
    rows,
    running,
)
from tests.adopt.store import start
from tests.stack.stackctl.site import Site

BOOKS = "api.models.Book"


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The project's stack in production."""
    folder = start(tmp_path_factory.mktemp("adopt") / "store")
    adopt(folder, "store_stack")
    # Without `make lock`: its packages are some of the stack's.
    with running(folder, "adopt") as site:
        yield site


def test_its_pages_come_from_both_servers_with_hashed_static_files(adopted: Site) -> None:
    page = adopted.get("/")
    assert page.status_code == 200 and page.text.endswith(">The store\n")
    assert "Content-Security-Policy-Report-Only" in page.headers
    assert_hashed_and_compressed(adopted, page.text, "store")
    assert_hashed_and_compressed(adopted, adopted.get("/admin/login/").text, "base")


def test_its_api_writes_to_the_stack_s_database_and_media(adopted: Site) -> None:
    def books(**options: object) -> requests.Response:
        return adopted.get("/api/books/", **options)

    answer = adopted.post(
        "/api/books/",
        auth=(USER, PASSWORD),
        data={"title": "Emma"},
        files={"cover": ("emma.txt", b"a cover")},
    )
    assert answer.status_code == 201, answer.text[:500]
    assert adopted.get("/media/covers/emma.txt").content == b"a cover"
    assert {books(headers={"Accept": "application/json"}).json()[0]["title"] for _ in "1234"} == {
        "Emma"
    }
    assert rows(adopted, BOOKS) == "mysql 1"
    assert adopted.get("/healthz").json()["status"] == "up"


def test_a_deploy_of_its_change_fails_no_request(adopted: Site) -> None:
    with adopted.edited("../templates/home.html", "The store", "Our store") as release:
        assert_deployed_under_load(adopted, release, "/", "/api/books/?format=json")
        assert all(adopted.get("/").text.endswith(">Our store\n") for _ in range(4))


def test_a_restore_brings_its_row_and_file_back(adopted: Site) -> None:
    with restored(adopted):
        code = (
            "import django; django.setup()\nfrom api.models import Book\nbook = Book.objects.get()"
        )
        adopted.python_in("server1", f"{code}\nbook.cover.delete(); book.delete()")
        assert rows(adopted, BOOKS) == "mysql 0"
    assert rows(adopted, BOOKS) == "mysql 1"
    assert adopted.get("/media/covers/emma.txt").content == b"a cover"
