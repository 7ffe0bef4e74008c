"""The mail server's variables: what they need of each other, and that no message shows a secret."""

import pytest

from ops import environment
from ops.environment.check import warnings
from tests.unit.environments import GOOD, names

MAIL = {"EMAIL_URL": "smtp+tls://me:hunter2@relay", "DEFAULT_FROM_EMAIL": "a@example.com"}


def test_mail_server_needs_a_sender_in_shared_layers() -> None:
    assert names({**GOOD, **MAIL}) == []
    without = {**GOOD, "EMAIL_URL": MAIL["EMAIL_URL"]}
    assert names(without) == names(without, "dev") == ["DEFAULT_FROM_EMAIL"]
    assert names({"EMAIL_URL": MAIL["EMAIL_URL"]}, "local") == []
    assert names({**GOOD, "EMAIL_URL": "consolemail://"}) == []


def test_site_without_mail_server_is_valid() -> None:
    assert names(GOOD) == []


@pytest.mark.parametrize(
    "url", ["smtp://me:hunter2/x@relay", "smtps://me:hunter2@relay", "smpt://me:hunter2@relay"]
)
def test_wrong_email_url_is_reported_without_its_password(url: str) -> None:
    (fault,) = environment.faults({**GOOD, **MAIL, "EMAIL_URL": url}, "production")
    assert fault.name == "EMAIL_URL"
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(("scheme", "warned"), [("smtp", True), ("smtp+tls", False)])
def test_password_without_tls_is_warned_of(scheme: str, warned: bool) -> None:
    url = f"{scheme}://me:hunter2@relay"
    reported = warnings(
        {**GOOD, **MAIL, "EMAIL_URL": url, "TLS_CERTIFICATE": "certs/a"}, "production"
    )

    assert [fault.name for fault in reported] == ["EMAIL_URL"] * warned
    assert "hunter2" not in "".join(map(str, reported))
