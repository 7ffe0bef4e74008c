"""The admin lists uploads and requeues failed ones."""

import uuid

import pytest
from django.contrib.auth.models import AbstractUser
from django.test import Client

from demo.models import Upload
from ops.models import Task

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed_upload(admin_user: AbstractUser) -> Upload:
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
        error="The disk was unavailable.",
    )


def test_admin_lists_uploads_with_thumbnails(admin_client: Client, failed_upload: Upload) -> None:
    page = admin_client.get("/admin/demo/upload/", {"status": "failed"}).content.decode()

    assert '<img src="/media/thumbnails/x.jpg"' in page
    assert "The disk was unavailable." in page
    assert "&lt;b&gt;holiday" in page and "<b>holiday" not in page
    assert admin_client.get(f"/admin/demo/upload/{failed_upload.pk}/change/").status_code == 200


def test_admin_action_requeues_a_failed_upload(admin_client: Client, failed_upload: Upload) -> None:
    answer = admin_client.post(
        "/admin/demo/upload/",
        {"action": "try_again", "_selected_action": [str(failed_upload.pk)]},
        follow=True,
    )

    assert "1 queued again." in answer.content.decode()
    failed_upload.refresh_from_db()
    assert (failed_upload.status, failed_upload.error) == ("queued", "")
    assert Task.objects.get().args == f'["{failed_upload.pk}"]'


def test_admin_cannot_add_uploads(admin_client: Client) -> None:
    assert admin_client.get("/admin/demo/upload/").status_code == 200
    assert admin_client.get("/admin/demo/upload/add/").status_code == 403
