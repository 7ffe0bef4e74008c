"""The stack's tables and the project's users in the admin."""

import pytest
from django.test import Client
from django.utils import timezone

from ops.models import Task

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", ["workerbeat", "parkedtask", "task"])
def test_admin_offers_no_add_form_for_models_of_the_stack(admin_client: Client, model: str) -> None:
    assert admin_client.get(f"/admin/ops/{model}/").status_code == 200
    assert admin_client.get(f"/admin/ops/{model}/add/").status_code == 403


def test_admin_action_requeues_failed_tasks_only(admin_client: Client) -> None:
    failed, done = (
        Task.objects.create(name="shop.tasks.pay", status=status, due=timezone.now())
        for status in ("failed", "done")
    )

    answer = admin_client.post(
        "/admin/ops/task/",
        {"action": "try_again", "_selected_action": [str(failed.pk), str(done.pk)]},
        follow=True,
    )

    assert "1 will run again." in answer.content.decode()
    failed.refresh_from_db()
    done.refresh_from_db()
    assert (failed.status, done.status) == ("waiting", "done")


def test_admin_lists_users(admin_client: Client) -> None:
    assert admin_client.get("/admin/accounts/user/").status_code == 200
