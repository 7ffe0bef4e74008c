"""A user of the stack who uploads pictures."""

import secrets
from typing import Any

import requests

from tests.pictures import picture
from tests.stack.compose import Stack
from tests.waiting import eventually


class Uploader:
    """One user, with a token."""

    def __init__(self, stack: Stack) -> None:
        """Make the user in the stack's database."""
        self.stack = stack
        self.name = f"user-{secrets.token_hex(4)}"
        self.token = stack.python_in(
            "server1",
            "import django; django.setup()\n"
            "from django.contrib.auth.models import User\n"
            "from rest_framework.authtoken.models import Token\n"
            f"user = User.objects.create_user({self.name!r})\n"
            "print(Token.objects.create(user=user).key)",
        ).splitlines()[-1]
        self.headers = {"Authorization": f"Token {self.token}"}

    def send(self, content: bytes = b"", name: str = "a.jpg") -> requests.Response:
        """Upload a picture."""
        return self.stack.post(
            "/api/uploads/", files={"image": (name, content or picture())}, headers=self.headers
        )

    def sent(self, content: bytes = b"") -> dict[str, Any]:
        """Upload a picture that must be taken, and return what was answered."""
        answer = self.send(content)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def find(self, upload: str) -> dict[str, Any]:
        """Return an upload as it is now."""
        answer = self.stack.get(f"/api/uploads/{upload}/", headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    def all(self) -> list[dict[str, Any]]:
        """Return this user's uploads, a hundred at most."""
        answer = self.stack.get("/api/uploads/?page_size=100", headers=self.headers)
        answer.raise_for_status()
        return answer.json()["results"]

    def done(self, upload: str, *, seconds: float) -> dict[str, Any]:
        """Wait until an upload is done, and return it."""

        def is_done() -> dict[str, Any] | None:
            found = self.find(upload)
            assert found["status"] != "failed", found
            return found if found["status"] == "done" else None

        found = eventually(is_done, seconds=seconds, what="the upload is done")
        assert found is not None
        return found

    def all_done(self, *, seconds: float) -> list[dict[str, Any]]:
        """Wait until all of this user's uploads are done, and return them."""

        def are_done() -> list[dict[str, Any]] | None:
            found = self.all()
            assert "failed" not in {upload["status"] for upload in found}, found
            return found if {upload["status"] for upload in found} == {"done"} else None

        found = eventually(are_done, seconds=seconds, what="all uploads are done")
        assert found is not None
        return found
