"""Image uploads on the status page: thumbnails, errors, lost connections."""

import secrets
import struct
import zlib

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.browser.conftest import BrowserErrors, sign_in
from tests.stack.compose import Stack


def png(width: int, height: int) -> bytes:
    """Return a PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x24\x56\xd6" * width) * height
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def image_file(name: str) -> FilePayload:
    """Return a file for the file input."""
    return {"name": name, "mimeType": "image/png", "buffer": png(640, 480)}


def upload_file(page: Page, file: FilePayload) -> None:
    """Choose a file and upload it."""
    page.locator("#image").set_input_files(file)
    page.get_by_role("button", name="Upload").click()


def test_uploaded_image_shows_its_thumbnail_without_a_reload(local_user: Stack, page: Page) -> None:
    # The stack may have images of an earlier test.
    name = f"by-hand-{secrets.token_hex(4)}.png"
    sign_in(page, local_user)
    upload_file(page, image_file(name))

    thumbnail = page.get_by_role("img", name=name)
    expect(thumbnail).to_be_visible(timeout=30_000)
    page.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=thumbnail.element_handle()
    )
    expect(page.locator("#images li").first).to_contain_text("640 \u00d7 480")
    expect(page.locator("#uploads-note")).to_contain_text(name)
    expect(page.locator("#upload-fault")).to_be_hidden()


def test_page_polls_until_the_upload_is_processed(local_user: Stack, page: Page) -> None:
    """An upload with status running is not finished."""
    upload = {
        "id": "1",
        "name": "slow.png",
        "width": 640,
        "height": 480,
        "bytes": 2000,
        "error": "",
    }
    unfinished = upload | {"sha256": "", "thumbnail": None}
    answers = [
        unfinished | {"status": "queued"},
        unfinished | {"status": "running"},
        upload | {"status": "done", "sha256": "ab" * 32, "thumbnail": "/static/ops/icon.svg"},
    ]

    def answer(route: Route) -> None:
        listed = answers.pop(0) if len(answers) > 1 else answers[0]
        route.fulfill(json={"count": 1, "next": None, "previous": None, "results": [listed]})

    page.route("**/api/uploads/", answer)
    sign_in(page, local_user)

    expect(page.locator("#uploads-note")).to_contain_text("slow.png: thumbnail is ready")
    expect(page.locator("#images img")).to_have_attribute("alt", "slow.png")


def test_uploading_a_non_image_shows_an_error(
    local_user: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    browser_errors.network_expected = True
    sign_in(page, local_user)
    upload_file(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"no image"})

    fault = page.locator("#upload-fault")
    expect(fault).to_be_visible()
    assert len(fault.inner_text()) > 10 and "{" not in fault.inner_text()
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()


def test_uploading_a_too_large_image_shows_an_error(
    local_user: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    browser_errors.network_expected = True
    sign_in(page, local_user)
    upload_file(page, {"name": "big.png", "mimeType": "image/png", "buffer": b"\0" * 11_000_000})

    expect(page.locator("#upload-fault")).to_contain_text("too large")


@pytest.mark.parametrize(
    ("status", "json", "text"),
    [
        (400, {"image": ["It is cut off."]}, "It is cut off."),
        (400, {"detail": "Not today."}, "Not today."),
        (403, {"detail": "CSRF Failed: token."}, "CSRF Failed"),
        (401, {}, "You are signed out"),
        (429, {}, "Please wait 7 seconds"),
        (429, {"detail": "Expected available in 9 seconds."}, "9 seconds"),
        (502, None, "could not accept the image (502)"),
    ],
)
def test_refused_upload_shows_the_error_of_each_status(
    local_user: Stack,
    page: Page,
    browser_errors: BrowserErrors,
    status: int,
    json: dict[str, object] | None,
    text: str,
) -> None:
    """With simulated responses, since the stack cannot produce all of these on demand."""
    browser_errors.network_expected = True

    def refuse(route: Route) -> None:
        if route.request.method != "POST":
            route.fulfill(json={"count": 0, "next": None, "previous": None, "results": []})
        elif json is None:
            route.fulfill(status=status, body="<html>")
        else:
            route.fulfill(status=status, json=json, headers={"Retry-After": "7"})

    page.route("**/api/uploads/", refuse)
    sign_in(page, local_user)
    upload_file(page, image_file("refused.png"))

    expect(page.get_by_role("alert")).to_contain_text(text)
    expect(page.locator("#image")).to_have_attribute("aria-invalid", "true")


def test_upload_without_a_connection_keeps_the_chosen_file(
    local_user: Stack, page: Page, browser_errors: BrowserErrors
) -> None:
    browser_errors.network_expected = True
    sign_in(page, local_user)
    page.locator("#image").set_input_files(image_file("later.png"))

    page.context.set_offline(True)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("No connection")
    page.context.set_offline(False)

    assert page.locator("#image").evaluate("field => field.files[0].name") == "later.png"
