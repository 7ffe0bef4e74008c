"""A project created by `wagtail start`, unmodified, on the whole stack; its admin in a browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Response

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
from tests.browser.conftest import launched_browser
from tests.stack.stackctl.site import Site
from tests.tree import ROOT

# Wagtail and its dependencies.
PINS = (
    "wagtail==7.4.4 django==6.0.10 anyascii==0.3.3 beautifulsoup4==4.15.0 defusedxml==0.7.1 "
    "django-filter==26.2 django-modelcluster==6.5 django-permissionedforms==0.1 "
    "django-stubs-ext==6.1.2 django-taggit==6.1.0 django-tasks==0.12.0 django-treebeard==5.3.1 "
    "draftjs-exporter==5.2.0 et-xmlfile==2.0.0 filetype==1.2.0 laces==0.1.2 modelsearch==1.3.2 "
    "openpyxl==3.1.5 pillow==13.0.0 pillow-heif==1.8.1 requests==2.34.2 soupsieve==4.1.3 "
    "telepath==0.3.1 willow==1.12.0"
)
IMAGES = "wagtail.images.models.Image"


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the production stack of the Wagtail project."""
    workspace = tmp_path_factory.mktemp("wagtail")
    generate_project(workspace, PINS.split()[0], "wagtail", "start", "bakery")
    folder = workspace / "bakery"
    commit_project(folder)
    printed = adopt_project(folder, "bakery_stack")
    assert "Django 6.0 is required" in printed and "Dockerfile stays as it is" in printed
    lock_requirements(folder / "stack", PINS)
    with running_site(folder, "bakery") as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched_browser() as browser:
        yield browser


@pytest.fixture
def page(bakery: Site, browser: Browser) -> Iterator[Page]:
    """Open a tab with a signed-in editor, and assert that no request or script fails."""
    context = browser.new_context()
    context.set_default_timeout(15_000)
    # Wagtail loads avatars and its newest version from other sites.
    context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
    page = context.new_page()
    failed: list[str] = []

    def record_failure(response: Response) -> None:
        if response.status >= 400:
            failed.append(f"{response.status} {response.url}")

    page.on("response", record_failure)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(bakery.url("/admin/"))
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Site summary").wait_for(state="attached")
    yield page
    context.close()
    assert failed == []


def test_wagtail_pages_and_admin_have_hashed_and_compressed_static_files(bakery: Site) -> None:
    page = bakery.get("/")
    assert page.status_code == 200 and "Welcome to your new Wagtail site!" in page.text
    assert "Content-Security-Policy-Report-Only" in page.headers
    assert_hashed_and_compressed(bakery, page.text, "welcome_page")
    assert_hashed_and_compressed(bakery, bakery.get("/admin/login/").text, "core")
    assert count_rows(bakery, "wagtail.models.Page") == "mysql 2"


def test_wagtail_admin_uploads_an_image_and_previews_a_page(bakery: Site, page: Page) -> None:
    # Scripts draw the menu, and styles position it on the left.
    menu = page.get_by_role("button", name="Reports").bounding_box()
    assert menu and menu["x"] + menu["width"] <= 200
    page.goto(bakery.url("/admin/images/multiple/add/"))
    page.locator("input[type=file]").first.set_input_files(ROOT / "docs/status-page.webp")
    page.get_by_role("button", name="Update").wait_for()
    page.goto(bakery.url("/admin/images/"))
    image = page.locator("img[src^='/media/images/']")
    image.wait_for()
    page.wait_for_load_state("load")
    assert image.evaluate("image => image.naturalWidth") == 165
    assert count_rows(bakery, IMAGES) == "mysql 1"

    page.goto(bakery.url("/admin/pages/3/edit/"))
    page.get_by_role("button", name="Toggle preview").click()
    preview = page.frame_locator("iframe[src*='/preview/']")
    preview.get_by_text("Welcome to your new Wagtail site!").wait_for()


def test_deploy_of_a_template_change_fails_no_request(bakery: Site) -> None:
    template = "../home/templates/home/welcome_page.html"
    with bakery.edited(template, "your new Wagtail site", "the bakery") as release:
        assert_deployed_under_load(bakery, release, "/", "/admin/login/")
        assert all("Welcome to the bakery!" in bakery.get("/").text for _ in range(4))


def test_restore_brings_back_a_deleted_image(bakery: Site) -> None:
    code = (
        "import django; django.setup()\nfrom wagtail.images.models import Image\n"
        "image = Image.objects.get()\nprint(image.file.url)"
    )
    address = bakery.python_in("server1", code)
    with backup_then_restore(bakery):
        bakery.python_in("server1", f"{code}\nimage.delete()")
        assert count_rows(bakery, IMAGES) == "mysql 0" and bakery.get(address).status_code == 404
    assert count_rows(bakery, IMAGES) == "mysql 1" and bakery.get(address).status_code == 200
