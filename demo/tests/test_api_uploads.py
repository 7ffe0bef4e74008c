"""/api/uploads/: what is taken in, what is refused, and what is left behind: nothing."""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, connection, utils
from django.test import Client
from kombu import pools
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from rest_framework.authtoken.models import Token

from demo import intake
from demo.models import Upload
from demo.tasks import process_upload
from demo.tests.pictures import HTML, SVG, bomb, picture
from mysite.celery import app
from ops.models import Task
from ops.tasks import rows

User = get_user_model()

pytestmark = pytest.mark.django_db

PATH = "/api/uploads/"


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Return where this test's files go."""
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def close_pools() -> None:
    """Close the connections to a broker that one test has named."""
    # Not pool.force_close_all(): kombu hands the closed pool to the next test.
    pools.reset()
    app.amqp._producer_pool = app._pool = None


@pytest.fixture(autouse=True)
def closed_pools() -> Iterator[None]:
    """Let no other test's connections count."""
    yield
    close_pools()


@pytest.fixture
def user() -> AbstractUser:
    """Return a user."""
    return User.objects.create_user("someone", password="a-good-pass-phrase")


@pytest.fixture
def signed_in(client: Client, user: AbstractUser) -> Client:
    """Return a client with a session."""
    client.force_login(user)
    return client


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message be worked on as soon as it is sent."""

    def work(name: str, args: list[str], kwargs: object, headers: dict[str, str]) -> None:
        assert (name, kwargs) == (process_upload.name, {})
        process_upload.apply(args=args, headers=headers)

    monkeypatch.setattr(app, "send_task", work)


def send(client: Client, content: bytes, name: str = "holiday.jpg", **headers: str) -> Any:
    """Post a file as a browser does."""
    return client.post(PATH, {"image": SimpleUploadedFile(name, content)}, headers=headers)


def files(media: Path) -> list[str]:
    """Return the files that were kept."""
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())


def test_a_picture_is_queued(signed_in: Client, media: Path) -> None:
    content = picture(size=(640, 480))

    answer = send(signed_in, content)

    body = answer.json()
    assert answer.status_code == 201
    assert body == {
        "id": body["id"],
        "name": "holiday.jpg",
        "status": "queued",
        "image": f"/media/uploads/{body['id']}.jpg",
        "thumbnail": None,
        "sha256": None,
        "bytes": len(content),
        "width": 640,
        "height": 480,
        "created": body["created"],
        "finished": None,
        "error": None,
    }
    assert files(media) == [f"uploads/{body['id']}.jpg"]
    assert (media / "uploads" / f"{body['id']}.jpg").read_bytes() == content


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("picture_format", "extension", "thumbnail"),
    [
        ("JPEG", "jpg", "JPEG"),
        ("PNG", "png", "PNG"),
        ("GIF", "gif", "PNG"),
        ("WEBP", "webp", "WEBP"),
    ],
)
def test_a_picture_becomes_a_thumbnail(
    signed_in: Client,
    media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    picture_format: str,
    extension: str,
    thumbnail: str,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        # Whatever it is called: the content tells.
        made = send(signed_in, picture(picture_format), "x.txt").json()

    found = signed_in.get(f"{PATH}{made['id']}/").json()
    assert found["image"].endswith(f".{extension}")
    assert (found["status"], found["error"]) == ("done", None)
    assert len(found["sha256"]) == 64 and found["finished"] >= found["created"]
    small = Image.open(media / found["thumbnail"].removeprefix("/media/"))
    assert (small.format, small.size) == (thumbnail, (320, 240))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "Unsupported image"),
        (SVG, "Unsupported image"),
        (HTML, "Unsupported image"),
        (picture()[:100], "The picture is damaged or cut off."),
        (picture("PNG")[:30], "Unsupported image"),
        (picture("WEBP")[:-20], "The picture is damaged or cut off."),
        (b"\xff\xd8\xff", "Unsupported image"),
        (picture("BMP"), "Unsupported image"),
        (bomb(), "The picture is too large: "),
        (b"", "The submitted file is empty."),
    ],
    ids=["text", "svg", "html", "jpeg", "png", "webp", "beginning", "bmp", "bomb", "empty"],
)
def test_what_is_no_good_picture_is_refused(
    signed_in: Client, media: Path, content: bytes, message: str
) -> None:
    answer = send(signed_in, content, "innocent.jpg")

    assert answer.status_code == 400
    assert answer.json()["image"][0].startswith(message)
    assert files(media) == []
    assert not Upload.objects.exists()


def test_the_pixels_are_counted(signed_in: Client, settings: Settings) -> None:
    settings.UPLOAD_MAX_MEGAPIXELS = 1

    answer = send(signed_in, picture("PNG", (1001, 1000)))

    assert answer.status_code == 400
    assert "1001 x 1000 pixels, and the limit is 1 million" in answer.json()["image"][0]


def test_a_picture_of_too_many_bytes_is_refused(
    signed_in: Client, settings: Settings, media: Path
) -> None:
    settings.UPLOAD_MAX_MB = 1
    content = picture() + bytes(1_000_001)

    answer = send(signed_in, content)

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The picture is too large: the limit is 1 MB."}
    assert files(media) == []


def test_a_request_that_says_it_is_huge_is_not_read(signed_in: Client) -> None:
    class Unread(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            raise AssertionError("it was read")

    answer = signed_in.generic(
        "POST",
        PATH,
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH="99000000",
        **{"wsgi.input": Unread()},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("form", "message"),
    [({}, "No file was submitted."), ({"image": "text"}, "The submitted data was not a file.")],
)
def test_a_form_without_a_file_is_refused(
    signed_in: Client, form: dict[str, str], message: str
) -> None:
    answer = signed_in.post(PATH, form)

    assert answer.status_code == 400
    assert message in answer.json()["image"][0]


def test_only_forms_are_taken(signed_in: Client) -> None:
    answer = signed_in.post(PATH, {"image": "x"}, content_type="application/json")

    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"", b"garbage", b"--x\r\nContent-Disposition: form-data"])
def test_a_broken_form_is_refused(signed_in: Client, body: bytes) -> None:
    answer = signed_in.generic("POST", PATH, body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\\\photos\\\\me.jpg", "me.jpg"),
        ("a\tb\u202egpj.exe.jpg", "abgpj.exe.jpg"),
        ("snow \u2603  man.png", "snow \u2603 man.png"),
        ("x" * 300 + ".jpeg", "x" * 95 + ".jpeg"),
        ("<b>&.jpg", "<b>&.jpg"),
        (".jpg", "jpg"),
    ],
)
def test_a_file_s_name_is_shown_clean_and_never_used(
    signed_in: Client, media: Path, name: str, shown: str
) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="'
        + name.encode()
        + b'"\r\nContent-Type: image/jpeg\r\n\r\n'
        + picture()
        + b"\r\n--x--\r\n"
    )

    answer = signed_in.generic("POST", PATH, body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == shown
    assert files(media) == [f"uploads/{answer.json()['id']}.jpg"]


def test_strangers_are_refused(client: Client, media: Path) -> None:
    for answer in (send(client, picture()), client.get(PATH)):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Token"
        assert answer.json() == {"detail": "Authentication credentials were not provided."}
    assert files(media) == []


def test_a_token_is_as_good_as_a_session(client: Client, user: AbstractUser) -> None:
    account = {"username": "someone", "password": "a-good-pass-phrase"}
    token = client.post("/api/token/", account).json()["token"]

    made = send(client, picture(), Authorization=f"Token {token}")

    assert made.status_code == 201
    assert Upload.objects.get().owner == user
    wrong = send(client, picture(), Authorization=f"Token {token[:-1]}x")
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid token."})


def test_a_wrong_password_gives_no_token(client: Client, user: AbstractUser) -> None:
    answer = client.post("/api/token/", {"username": "someone", "password": "guess"})

    assert answer.status_code == 400
    assert "token" not in answer.json()
    assert not Token.objects.exists()


def test_another_site_cannot_upload_in_a_user_s_name(user: AbstractUser, media: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)

    assert send(client, picture()).status_code == 403
    assert files(media) == []


def test_one_sees_one_s_own_alone_the_newest_first(signed_in: Client, user: AbstractUser) -> None:
    mine = [send(signed_in, picture()).json()["id"] for _ in range(3)]
    other = Client()
    other.force_login(User.objects.create_user("other"))
    theirs = send(other, picture()).json()["id"]

    listing = signed_in.get(PATH, {"page_size": 2}).json()

    assert listing["count"] == 3
    assert [upload["id"] for upload in listing["results"]] == mine[:0:-1]
    following = signed_in.get(listing["next"]).json()
    assert [upload["id"] for upload in following["results"]] == mine[:1]
    assert signed_in.get(f"{PATH}{theirs}/").status_code == 404
    assert signed_in.get(f"{PATH}{mine[0]}/").status_code == 200
    assert signed_in.get(f"{PATH}no-uuid/").status_code == 404


@pytest.mark.parametrize("zeros", [1, 5000])
def test_a_number_s_first_zeros_count_for_nothing(signed_in: Client, zeros: int) -> None:
    made = [send(signed_in, picture()).json()["id"] for _ in range(3)]

    listing = signed_in.get(PATH, {"page_size": "0" * zeros + "2"}).json()

    assert [upload["id"] for upload in listing["results"]] == made[:0:-1]


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_an_upload_is_not_changed(signed_in: Client, method: str) -> None:
    made = send(signed_in, picture()).json()["id"]

    assert getattr(signed_in, method)(f"{PATH}{made}/").status_code == 405


def test_a_row_that_cannot_be_written_leaves_no_file(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(upload: Upload, **options: Any) -> None:
        raise DatabaseError("hidden")

    monkeypatch.setattr(Upload, "save", fail)
    signed_in.raise_request_exception = False

    assert send(signed_in, picture()).status_code == 500
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("atomic_requests", [True, False])
def test_an_upload_whose_commit_failed_is_not_kept(
    signed_in: Client,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    atomic_requests: bool,
) -> None:
    """Whether the database has done it or not, and once it is back."""
    commit = connection.commit
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)

    def away(*_: object) -> None:
        raise utils.OperationalError(2013, "Lost connection to MySQL server during query")

    def unheard() -> None:
        if committed:
            commit()
        # Until all is undone, the database is down.
        monkeypatch.setattr(connection, "cursor", away)
        away()

    monkeypatch.setattr(connection, "commit", unheard)

    assert send(signed_in, picture()).status_code == 503
    assert not [name for name in files(media) if not name.startswith("refused")]
    monkeypatch.undo()
    connection.close()
    assert Upload.objects.count() == committed
    assert intake.remove_refused() == committed
    assert (Upload.objects.count(), files(media)) == (0, [])
    assert intake.remove_refused() == 0


def test_a_folder_that_cannot_be_written_is_said(
    signed_in: Client, media: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"

    answer = send(signed_in, picture())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "cannot be kept at present" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_the_disk_has_the_file_before_there_is_a_row(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure leaves a row without its file, which was answered with 201."""
    content = picture()
    happened: list[str | int | tuple[int, int]] = []
    fsync = os.fsync

    def noted(opened: int) -> None:
        fsync(opened)
        found = os.fstat(opened)
        folder = stat.S_ISDIR(found.st_mode)
        happened.append(found.st_ino if folder else (found.st_ino, found.st_size))

    def look(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT") and Upload._meta.db_table in sql:
            happened.append("row")
        return execute(sql, *rest)

    monkeypatch.setattr(os, "fsync", noted)
    with connection.execute_wrapper(look):
        answer = send(signed_in, content)

    file = media / "uploads" / f"{answer.json()['id']}.jpg"
    # All of it, then its name in its folder, then that folder's name, which is new too.
    folders = [path.stat().st_ino for path in (media / "uploads", media)]
    assert happened == [(file.stat().st_ino, len(content)), *folders, "row"]


def test_a_disk_that_fails_in_the_end_is_said_and_keeps_nothing(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)

    assert send(signed_in, picture()).status_code == 503
    assert files(media) == []
    assert not Upload.objects.exists()


def test_without_a_broker_it_is_still_taken_and_found_later(
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    with django_capture_on_commit_callbacks(execute=True):
        answer = send(signed_in, picture())

    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    # Marked as unsent: a worker sends it as soon as there is a broker.
    task = Task.objects.get()
    assert (rows.loads(task.args), task.sent) == ([answer.json()["id"]], None)
    assert rows.send_due() == 0


def test_tasks_can_be_sent_after_these_tests() -> None:
    for _ in range(2):
        app.send_task("any")
        close_pools()


def test_a_deleted_upload_takes_its_files_along(
    signed_in: Client,
    media: Path,
    worker: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        send(signed_in, picture())
    assert len(files(media)) == 2

    with django_capture_on_commit_callbacks(execute=True):
        User.objects.all().delete()

    assert files(media) == []
