"""A forum of 30 apps, created by `spirit startproject` of django-spirit, on the whole stack."""

import re
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
    generate_project,
    lock_requirements,
    running_site,
)
from tests.adopt.store import commit_project
from tests.stack.stackctl.site import Site

PINS = (
    "django-spirit==0.14.3 django-djconfig==0.11.0 django-haystack==3.4.0 "
    "django-infinite-scroll-pagination==1.3.0 mistune==0.8.4 olefile==0.47 pillow==13.0.0 "
    "whoosh==2.7.4"
)
# The project's folder, where its search index would be, is read-only, as `copier copy` warns.
INDEX = """
yours["HAYSTACK_CONNECTIONS"]["default"]["PATH"] = str(env.path("PRIVATE_ROOT") / "search")
"""
TOPICS = "spirit.topic.models.Topic"
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


@pytest.fixture(scope="module")
def forum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the production stack of the forum."""
    workspace = tmp_path_factory.mktemp("spirit")
    generate_project(workspace, PINS.split()[0], "spirit", "startproject", "forum")
    folder = workspace / "forum"
    (folder / "requirements.txt").write_text(f"{PINS.split()[0]}\n")
    commit_project(folder)
    printed = adopt_project(folder, "forum_stack")
    words = "HAYSTACK_CONNECTIONS, HUEY: servers can write only to MEDIA_ROOT and PRIVATE_ROOT"
    assert words in printed
    with (folder / "stack/forum_stack/settings/base.py").open("a") as settings:
        settings.write(INDEX)
    lock_requirements(folder / "stack", PINS)
    with running_site(folder, "forum") as site:
        yield site


class Member(requests.Session):
    """A signed-in member, over plain http."""

    def __init__(self, site: Site) -> None:
        """Sign in."""
        super().__init__()
        self.site = site
        self.send_form("/user/login/", username=USER, password=PASSWORD)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Send secure cookies too, since the test uses http."""
        for cookie in self.cookies:
            cookie.secure = False
        return super().prepare_request(request)

    def send_form(self, path: str, **values: str) -> str:
        """Submit the form of a page, and return the next page."""
        page = self.get(self.site.url(path))
        token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        answer = self.post(page.url, data={"csrfmiddlewaretoken": token, **values})
        assert answer.status_code == 200, answer.text[:500]
        return answer.text


@pytest.fixture(scope="module")
def member(forum: Site) -> Member:
    """Sign in as the first superuser."""
    return Member(forum)


def test_forum_pages_and_admin_have_hashed_and_compressed_static_files(
    forum: Site, member: Member
) -> None:
    page = forum.get("/")
    assert page.status_code == 200 and "Latest active topics" in page.text
    assert_hashed_and_compressed(forum, page.text, r"styles\.all\.min")
    admin = member.get(forum.url("/admin/"))
    assert admin.status_code == 200 and "Site administration" in admin.text
    assert_hashed_and_compressed(forum, admin.text, "base")


def test_forum_publishes_topics_searches_them_and_stores_uploads(
    forum: Site, member: Member
) -> None:
    words = "Lanterns of the harbour"
    topic = member.send_form("/topic/publish/", title=words, category="2", comment="They glow.")
    assert "They glow." in topic
    assert count_rows(forum, TOPICS) == "mysql 1"
    # Only this command updates the index, since the forum runs no task queue. Both servers read it.
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


def test_deploy_of_a_settings_change_fails_no_request(forum: Site) -> None:
    english, german = 'LANGUAGE_CODE = "en"', 'LANGUAGE_CODE = "de"'
    with forum.edited("../forum/settings/prod.py", english, german) as release:
        assert_deployed_under_load(forum, release, "/", "/category/")
        assert all("zuletzt aktive Themen" in forum.get("/").text for _ in range(4))


def test_restore_brings_back_a_deleted_topic(forum: Site, member: Member) -> None:
    member.send_form("/topic/publish/", title="To be lost", category="2", comment="Soon.")
    lost = 'title="To be lost"'
    with backup_then_restore(forum):
        code = f"import django; django.setup()\nfrom {TOPICS[:-6]} import Topic\n"
        forum.python_in("server1", f"{code}Topic.objects.filter({lost}).delete()")
        assert count_rows(forum, TOPICS, lost) == "mysql 0"
    assert count_rows(forum, TOPICS, lost) == "mysql 1"
