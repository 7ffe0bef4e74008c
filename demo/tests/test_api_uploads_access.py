"""/api/uploads/: authentication and ownership."""

from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.test import Client
from rest_framework.authtoken.models import Token

from demo.models import Upload
from demo.tests.images import make_image
from demo.tests.uploads import PATH, files, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]
User = get_user_model()


def test_anonymous_upload_and_list_are_refused_with_401(client: Client, media: Path) -> None:
    for answer in (send(client, make_image()), client.get(PATH)):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Token"
        assert answer.json() == {"detail": "Authentication credentials were not provided."}
    assert files(media) == []


def test_upload_accepts_a_token(client: Client, user: AbstractUser) -> None:
    account = {"username": "someone", "password": "a-good-pass-phrase"}
    token = client.post("/api/token/", account).json()["token"]

    created = send(client, make_image(), Authorization=f"Token {token}")

    assert created.status_code == 201
    assert Upload.objects.get().owner == user
    refused = send(client, make_image(), Authorization=f"Token {token[:-1]}x")
    assert (refused.status_code, refused.json()) == (401, {"detail": "Invalid token."})


def test_wrong_password_gets_no_token(client: Client, user: AbstractUser) -> None:
    answer = client.post("/api/token/", {"username": "someone", "password": "guess"})

    assert answer.status_code == 400
    assert "token" not in answer.json()
    assert not Token.objects.exists()


def test_upload_without_csrf_token_is_refused(user: AbstractUser, media: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)

    assert send(client, make_image()).status_code == 403
    assert files(media) == []


def test_user_lists_only_own_uploads_newest_first(signed_in: Client, user: AbstractUser) -> None:
    mine = [send(signed_in, make_image()).json()["id"] for _ in range(3)]
    other = Client()
    other.force_login(User.objects.create_user("other"))
    theirs = send(other, make_image()).json()["id"]

    listing = signed_in.get(PATH, {"page_size": 2}).json()

    assert listing["count"] == 3
    assert [upload["id"] for upload in listing["results"]] == mine[:0:-1]
    following = signed_in.get(listing["next"]).json()
    assert [upload["id"] for upload in following["results"]] == mine[:1]
    assert signed_in.get(f"{PATH}{theirs}/").status_code == 404
    assert signed_in.get(f"{PATH}{mine[0]}/").status_code == 200
    assert signed_in.get(f"{PATH}no-uuid/").status_code == 404


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_uploads_refuse_put_patch_and_delete(signed_in: Client, method: str) -> None:
    created = send(signed_in, make_image()).json()["id"]

    assert getattr(signed_in, method)(f"{PATH}{created}/").status_code == 405
