"""An existing project, unmodified, on the whole stack (docs/adopt.md)."""

from collections.abc import Iterator

import pytest
import requests

from tests.adopt.adopting import (
    PASSWORD,
    USER,
    adopt_project,
    assert_deployed_under_load,
    assert_hashed_and_compressed,
    backup_then_restore,
    count_rows,
    running_site,
)
from tests.adopt.store import create_store
from tests.stack.stackctl.site import Site

BOOKS = "api.models.Book"


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the production stack of the adopted project."""
    folder = create_store(tmp_path_factory.mktemp("adopt") / "store")
    adopt_project(folder, "store_stack")
    # Without `make lock`: the stack already has its packages.
    with running_site(folder, "adopt") as site:
        yield site


def test_adopted_pages_have_hashed_and_compressed_static_files(adopted: Site) -> None:
    page = adopted.get("/")
    assert page.status_code == 200 and page.text.endswith(">The store\n")
    assert "Content-Security-Policy-Report-Only" in page.headers
    assert_hashed_and_compressed(adopted, page.text, "store")
    assert_hashed_and_compressed(adopted, adopted.get("/admin/login/").text, "base")


def test_adopted_api_writes_to_the_database_and_media_of_the_stack(adopted: Site) -> None:
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
    assert count_rows(adopted, BOOKS) == "mysql 1"
    assert adopted.get("/healthz").json()["status"] == "up"


def test_deploy_of_a_template_change_fails_no_request(adopted: Site) -> None:
    with adopted.edited("../templates/home.html", "The store", "Our store") as release:
        assert_deployed_under_load(adopted, release, "/", "/api/books/?format=json")
        assert all(adopted.get("/").text.endswith(">Our store\n") for _ in range(4))


def test_restore_brings_back_a_deleted_row_and_its_file(adopted: Site) -> None:
    with backup_then_restore(adopted):
        code = (
            "import django; django.setup()\nfrom api.models import Book\nbook = Book.objects.get()"
        )
        adopted.python_in("server1", f"{code}\nbook.cover.delete(); book.delete()")
        assert count_rows(adopted, BOOKS) == "mysql 0"
    assert count_rows(adopted, BOOKS) == "mysql 1"
    assert adopted.get("/media/covers/emma.txt").content == b"a cover"
