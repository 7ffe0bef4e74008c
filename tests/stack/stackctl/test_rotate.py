"""Rotation of secrets in a running stack, and passwords that were changed by hand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import requests

from ops.environment import dotenv
from tests.background import InBackground
from tests.stack.stackctl.site import ANY, QUICK, Site, visitors
from tests.waiting import eventually

SECRETS = ("DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD")
BY_HAND = "changed-by-hand"
SIGN_IN = """
import django; django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
user = get_user_model().objects.create_superuser("rotated")
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""


@contextmanager
def secrets_in_dotenv(site: Site) -> Iterator[dict[str, str]]:
    """Move the secrets to `.env` during the block, and yield the previous ones."""
    previous = {name: site.environment.pop(name) for name in SECRETS}
    env = site.tree / ".env"
    env.touch(0o600)
    write(env, previous)
    try:
        yield previous
    finally:
        site.environment |= dotenv.read(env).values
        env.unlink()


def write(env: Path, values: Mapping[str, str]) -> None:
    """Write a `.env` file."""
    env.write_text("".join(f"{name}={dotenv.write(text)}\n" for name, text in values.items()))


def get_admin_page(site: Site, session: str) -> requests.Response:
    """Request the admin with a session."""
    headers = {"Cookie": f"sessionid={session}"}
    return site.get("/admin/", headers=headers, allow_redirects=False)


@contextmanager
def staying_signed_in(site: Site) -> Iterator[None]:
    """Request the admin with one session during the block, and assert that it stays signed in."""
    session = site.python_in("server1", SIGN_IN).splitlines()[-1]
    assert get_admin_page(site, session).status_code == 200
    statuses = []

    def visit(over: Event) -> None:
        cookie = session
        while not over.wait(0.3):
            answer = get_admin_page(site, cookie)
            statuses.append(answer.status_code)
            # Django may replace a session that was signed with a previous key.
            cookie = answer.cookies.get("sessionid") or cookie

    with InBackground([visit], end_seconds=30):
        yield
    assert len(statuses) > 10 and set(statuses) == {200}


def test_rotate_all_fails_no_request_and_keeps_users_signed_in(site: Site) -> None:
    """It also completes a password change that was made only in `.env`."""
    check_rotate_all(site)


def check_rotate_all(site: Site) -> None:
    """Rotate all secrets of a running stack, also on PostgreSQL."""
    with secrets_in_dotenv(site) as previous:
        backing = [site.container(name) for name in ("db", "redis")]
        change_password_by_hand(site)
        with visitors(site), staying_signed_in(site):
            output = site.ctl("rotate", "all", *QUICK)

        values = dotenv.read(site.tree / ".env").values
        assert not any(text in output for text in (*previous.values(), *values.values()))
        assert all(values[name] != previous[name] for name in SECRETS)
        assert values["DB_PASSWORD"] == BY_HAND
        assert site.run_in("server1", "printenv", "DB_PASSWORD").strip() == BY_HAND
        assert "refused user 'mysite'" in migrate_with_password(site, previous["DB_PASSWORD"])
        assert site.ask("doctor")["code"] == 0
        # Their containers are not recreated, and restart with the new passwords.
        assert [site.container(name) for name in ("db", "redis")] == backing
        site.compose("restart", "db", "redis")
        eventually(
            lambda: site.ask("status", code=ANY)["code"] == 0,
            seconds=60,
            what="all of the stack is healthy again",
        )


def migrate_with_password(site: Site, password: str) -> str:
    """Return the output of migrate with this password."""
    arguments = ("run", "--rm", "--no-deps", "-e", f"DB_PASSWORD={password}", "migrate")
    return site.compose(*arguments, check=False).stdout


def change_password_by_hand(site: Site) -> None:
    """Change the password of the database only in `.env`, which every command reports."""
    env = site.tree / ".env"
    write(env, {**dotenv.read(env).values, "DB_PASSWORD": BY_HAND})
    for command in ("doctor", "up", "deploy"):
        output = site.ctl(command, code=1)
        assert "DB_PASSWORD: db refuses it" in output
        assert "./stackctl rotate db" in output
