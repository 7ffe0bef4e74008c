"""Where backups go, as BACKUP_TO has it, and what restic calls that place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .fault import Fault, InvalidValueError
from .variable import Value

_FORMS: Final = (
    "s3://BUCKET/FOLDER, s3:https://SERVER/BUCKET/FOLDER, sftp://USER@HOST:PORT/FOLDER or a folder "
    "such as /mnt/backups"
)
# The bucket of AWS as its own command line writes it; restic names the server too.
_AWS: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[\w.~/-]*)?)", re.ASCII)
_S3: Final = re.compile(r"s3:https?://[\w.:\[\]-]+/[\w.~/-]+", re.ASCII)
_SFTP: Final = re.compile(
    r"sftp://(\w[\w.-]*@)?(\w[\w.-]*|\[[0-9A-Fa-f:]+\])(:\d+)?/[\w.~/-]+", re.ASCII
)
_SFTP_SHORT: Final = re.compile(r"sftp:(\w[\w.-]*@)?(\w[\w.-]*):[\w.~/-]+", re.ASCII)
_FOLDER: Final = re.compile(r"/[\w.~/ -]*\w", re.ASCII)
AWS_SERVER: Final = "s3.amazonaws.com"


def repository(text: str) -> str:
    """Return restic's name of a place.

    Raises:
        InvalidValueError: it is none; the message shows the forms.
    """
    if match := _AWS.fullmatch(text):
        return f"s3:https://{AWS_SERVER}/{match[1]}"
    if _S3.fullmatch(text) or is_sftp(text) or is_folder(text):
        return text
    raise InvalidValueError(f"{text[:80]!r} is no place for backups", f"Write it as {_FORMS}.")


def is_sftp(text: str) -> bool:
    """Return whether a place is a folder of an SFTP server."""
    return bool(_SFTP.fullmatch(text) or _SFTP_SHORT.fullmatch(text))


def is_folder(text: str) -> bool:
    """Return whether a place is a folder of this machine."""
    return bool(_FOLDER.fullmatch(text))


def validate(text: str) -> None:
    """Accept a place for backups.

    Raises:
        InvalidValueError: as `repository`.
    """
    repository(text)


def time_of_day(text: str) -> None:
    """Accept hours and minutes, such as 03:00.

    Raises:
        InvalidValueError: it is neither.
    """
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise InvalidValueError(f"{text!r} is no time of day", "Write it as 03:00.")


def warnings(values: Mapping[str, Value]) -> list[Fault]:
    """Return what lets the stack start, but make no backup in BACKUP_TO."""
    if not values["BACKUP_TO"] or values["BACKUP_PASSWORD"]:
        return []
    hint = (
        'Write one, and keep a copy in another place: echo "BACKUP_PASSWORD=$(openssl rand -hex '
        '32)" >>.env'
    )
    return [Fault("BACKUP_PASSWORD", "it is not set, and encrypts the backups in BACKUP_TO", hint)]
