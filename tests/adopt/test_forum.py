"""A forum of 30 apps, as django-spirit's `spirit startproject` makes it, on the whole stack."""

import re
from collections.abc import Iterator

import pytest
import requests

from tests.adopt.adopting import (
    PASSWORD,
    USER,
    adopt,
    assert_deployed_under_load,
    assert_hashed_and_compressed,
    generated,
    lock,
    restored,
    rows,
    running,
)
from tests.adopt.store import committed
from tests.stack.stackctl.site import Site

PINS = (
    "django-spirit==0.14.3 django-djconfig==0.11.0 django-haystack==3.4.0 "
    "django-infinite-scroll-pagination==1.3.0 mistune==0.8.4 olefile==0.47 pillow==13.0.0 "
    "whoosh==2.7.4"
)
# Its search index would be in the project's folder, which is read-only: the command reports it.
INDEX = """
yours["HAYSTACK_CONNECTIONS"]["default"]["PATH"] = str(env.path("PRIVATE_ROOT") / "search")
"""
TOPICS = "spirit.topic.models.Topic"
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


@pytest.fixture(scope="module")
def forum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The project's stack in production."""
    place = tmp_path_factory.mktemp("spirit")
    generated(place, PINS.split()[0], "spirit", "startproject", "forum")
    folder = place / "forum"
    (folder / "requirements.txt").write_text(f"{PINS.split()[0]}\n")
    committed(folder)
    printed = adopt(folder, "forum_stack")
    assert "HAYSTACK_CONNECTIONS, HUEY: servers can write to MEDIA_ROOT and PRIVATE_ROOT" in printed
    with (folder / "stack/forum_stack/settings/base.py").open("a") as settings:
        settings.write(INDEX)
    lock(folder / "stack", PINS)
    with running(folder, "forum") as site:
        yield site


class Member(requests.Session):
    """A member who is signed in, over http alone."""

    def __init__(self, site: Site) -> None:
        """Sign in."""
        super().__init__()
        self.site = site
        self.send_form("/user/login/", username=USER, password=PASSWORD)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Add the cookies that are for https, since the test has http."""
        for cookie in self.cookies:
            cookie.secure = False
        return super().prepare_request(request)

    def send_form(self, path: str, **values: str) -> str:
        """Send the form of a page, and return the page that follows."""
        page = self.get(self.site.url(path))
        token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        answer = self.post(page.url, data={"csrfmiddlewaretoken": token, **values})
        assert answer.status_code == 200, answer.text[:500]
        return answer.text


@pytest.fixture(scope="module")
def member(forum: Site) -> Member:
    """The first superuser."""
    return Member(forum)


def test_its_pages_come_from_both_servers_with_hashed_static_files(
    forum: Site, member: Member
) -> None:
    page = forum.get("/")
    assert page.status_code == 200 and "Latest active topics" in page.text
    assert_hashed_and_compressed(forum, page.text, r"styles\.all\.min")
    admin = member.get(forum.url("/admin/"))
    assert admin.status_code == 200 and "Site administration" in admin.text
    assert_hashed_and_compressed(forum, admin.text, "base")


def test_its_topics_search_and_uploads(forum: Site, member: Member) -> None:
    words = "Lanterns of the harbour"
    topic = member.send_form("/topic/publish/", title=words, category="2", comment="They glow.")
    assert "They glow." in topic
    assert rows(forum, TOPICS) == "mysql 1"
    # Without a task manager of its own this command alone indexes. Both servers see the index.
    forum.run_in("worker", "python", "manage.py", "update_index", "--verbosity", "0")
    for _ in range(4):
        assert words in member.get(forum.url("/search/?q=lanterns")).text
    token = str(member.cookies["csrftoken"])
    answer = member.post(
        forum.url("/comment/upload/"),
        headers={"X-Requested-With": "XMLHttpRequest", "X-CSRFToken": token},
        files={"image": ("light.gif", GIF)},
    )
    assert forum.get(answer.json()["url"]).content == GIF


def test_a_deploy_of_its_change_fails_no_request(forum: Site) -> None:
    english, german = 'LANGUAGE_CODE = "en"', 'LANGUAGE_CODE = "de"'
    with forum.edited("../forum/settings/prod.py", english, german) as release:
        assert_deployed_under_load(forum, release, "/", "/category/")
        assert all("zuletzt aktive Themen" in forum.get("/").text for _ in range(4))


def test_a_restore_brings_a_topic_back(forum: Site, member: Member) -> None:
    member.send_form("/topic/publish/", title="To be lost", category="2", comment="Soon.")
    lost = 'title="To be lost"'
    with restored(forum):
        code = f"import django; django.setup()\nfrom {TOPICS[:-6]} import Topic\n"
        forum.python_in("server1", f"{code}Topic.objects.filter({lost}).delete()")
        assert rows(forum, TOPICS, lost) == "mysql 0"
    assert rows(forum, TOPICS, lost) == "mysql 1"
