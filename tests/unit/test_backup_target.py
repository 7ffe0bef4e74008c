"""Places for backups, as BACKUP_TO has them."""

import pytest

from ops.environment.backup_target import is_folder, is_sftp, repository
from ops.environment.check import warnings
from ops.environment.fault import InvalidValueError


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("s3://acme-backups", "s3:https://s3.amazonaws.com/acme-backups"),
        ("s3://acme-backups/my/site", "s3:https://s3.amazonaws.com/acme-backups/my/site"),
        ("s3:https://s3.example.com:9000/bucket/x", "s3:https://s3.example.com:9000/bucket/x"),
        ("sftp://me@nas:2222//mnt/x", "sftp://me@nas:2222//mnt/x"),
        ("sftp:me@nas:mysite", "sftp:me@nas:mysite"),
        ("/mnt/a disk/backups", "/mnt/a disk/backups"),
    ],
)
def test_place_has_a_name_for_restic(text: str, named: str) -> None:
    assert repository(text) == named
    assert (is_folder(text), is_sftp(text)) == (text[0] == "/", text.startswith("sftp"))


@pytest.mark.parametrize(
    "text",
    [
        *("backups", "./backups", "/", "s3://A", "s3:bucket", "ftp://host/x", "sftp://host"),
        *(
            "rest:https://host/",
            "/mnt/x\n",
            "/mnt/x:ro",
            "sftp://-oProxyCommand=x/y z",
            "s3://ab/ c",
        ),
    ],
)
def test_what_is_no_place_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        repository(text)
    assert "s3://BUCKET/FOLDER" in raised.value.hint


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({"BACKUP_TO": "/mnt/backups"}, True),
        ({"BACKUP_TO": "/mnt/backups", "BACKUP_PASSWORD": "x" * 20}, False),
        ({"BACKUP_PASSWORD": "x" * 20}, False),
        ({}, False),
    ],
)
def test_place_without_a_password_is_warned_of(given: dict[str, str], warned: bool) -> None:
    assert ("BACKUP_PASSWORD" in [fault.name for fault in warnings(given, "local")]) is warned
