"""The stack's tables and the project's users in the admin."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", ["workerbeat", "parkedtask"])
def test_rows_of_the_stack_are_never_added_by_hand(admin_client: Client, model: str) -> None:
    assert admin_client.get(f"/admin/ops/{model}/").status_code == 200
    assert admin_client.get(f"/admin/ops/{model}/add/").status_code == 403


def test_users_are_in_the_admin(admin_client: Client) -> None:
    assert admin_client.get("/admin/accounts/user/").status_code == 200
