"""Sessions, reset links and signed values outlive a rotation of the key until its fallback goes."""

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.test import Client
from pytest_django import Settings

from accounts.models import User

pytestmark = pytest.mark.django_db

FORMER, NEW = "former-" * 10, "new-" * 20


def test_signatures_are_valid_until_the_former_key_is_dropped(
    client: Client, settings: Settings
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = FORMER, []
    user = User.objects.create_superuser("chief")
    client.force_login(user)
    # Another browser, which does not return before the key is dropped.
    away = Client()
    away.force_login(user)
    value = signing.dumps("value")
    token = default_token_generator.make_token(user)

    # What `./stackctl rotate secret-key` brings to the servers.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [FORMER]
    assert client.get("/admin/").status_code == 200
    assert signing.loads(value) == "value"
    assert default_token_generator.check_token(user, token)
    assert signing.loads(signing.dumps("new"), fallback_keys=[]) == "new"

    settings.SECRET_KEY_FALLBACKS = []
    # Its session was signed with the new key at its visit.
    assert client.get("/admin/").status_code == 200
    assert away.get("/admin/").status_code == 302
    with pytest.raises(signing.BadSignature):
        signing.loads(value)
    assert not default_token_generator.check_token(user, token)
