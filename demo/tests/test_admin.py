"""The admin: uploads with their thumbnails, and failed ones tried again."""

import uuid

import pytest
from django.contrib.auth.models import AbstractUser
from django.test import Client

from demo.models import Upload
from ops.models import Task

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(admin_user: AbstractUser) -> Upload:
    """Return a failed upload."""
    return Upload.objects.create(
        id=uuid.uuid4(),
        owner=admin_user,
        name="<b>holiday</b>.jpg",
        image="uploads/x.jpg",
        thumbnail="thumbnails/x.jpg",
        bytes=1,
        width=1,
        height=1,
        status=Upload.Status.FAILED,
        error="The disk was away.",
    )


def test_uploads_are_shown_with_their_thumbnails(admin_client: Client, failed: Upload) -> None:
    page = admin_client.get("/admin/demo/upload/", {"status": "failed"}).content.decode()

    assert '<img src="/media/thumbnails/x.jpg"' in page
    assert "The disk was away." in page
    assert "&lt;b&gt;holiday" in page and "<b>holiday" not in page
    assert admin_client.get(f"/admin/demo/upload/{failed.pk}/change/").status_code == 200


def test_a_failed_upload_is_tried_again(admin_client: Client, failed: Upload) -> None:
    answer = admin_client.post(
        "/admin/demo/upload/",
        {"action": "try_again", "_selected_action": [str(failed.pk)]},
        follow=True,
    )

    assert "1 queued again." in answer.content.decode()
    failed.refresh_from_db()
    assert (failed.status, failed.error) == ("queued", "")
    assert Task.objects.get().args == f'["{failed.pk}"]'


def test_uploads_are_never_added_by_hand(admin_client: Client) -> None:
    assert admin_client.get("/admin/demo/upload/").status_code == 200
    assert admin_client.get("/admin/demo/upload/add/").status_code == 403
