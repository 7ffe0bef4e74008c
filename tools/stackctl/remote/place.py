"""The place that backups go to, and the keys that open it, as the variables say."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ops.environment import backup_target
from ops.environment.contract import VARIABLES
from ops.environment.fault import Fault, InvalidValueError
from ops.environment.files import text_of
from ops.environment.loader import find_dotenv

from ..common import process
from ..common.faults import StackctlError, UsageError

# Where the container has a place that is a folder of this machine.
MOUNTED = "/target"
_WRITE_ONE = (
    "Write one into .env, and keep a copy in another place, since the backups cannot be read "
    "without it:\n"
    'echo "BACKUP_PASSWORD=$(openssl rand -hex 32)" >>.env'
)


@dataclass(frozen=True)
class Place:
    """One place, as BACKUP_TO or --to names it."""

    name: str
    # Of the container; secrets are among its values.
    environ: dict[str, str] = field(repr=False)

    @property
    def is_sftp(self) -> bool:
        """Return whether it is a folder of an SFTP server."""
        return backup_target.is_sftp(self.name)

    @property
    def folder(self) -> str:
        """Return the folder of this machine that it is; empty for a server."""
        return self.name if backup_target.is_folder(self.name) else ""


def setting(name: str) -> str:
    """Return a variable's text: the process's environment, else `.env`; a secret's file counts.

    Raises:
        StackctlError: its file cannot be read, or its value is wrong.
    """
    dotenv = find_dotenv(os.environ, "local", process.ROOT).values
    environ = {**dotenv, **{key: text for key, text in os.environ.items() if text}}
    text = text_of(VARIABLES[name], environ)
    if isinstance(text, Fault):
        raise StackctlError(f"{text.name}: {text.problem}", text.hint)
    try:
        VARIABLES[name].parse(text) if text else None
    except InvalidValueError as error:
        raise StackctlError(f"{name}: {error.problem}", error.hint) from None
    return text


def read(given: str = "") -> Place | None:
    """Return the place of --to, else of BACKUP_TO; None where neither names one.

    Raises:
        UsageError: --to names no place.
        StackctlError: a variable that the place needs is missing or wrong.
    """
    if given:
        try:
            backup_target.validate(given)
        except InvalidValueError as error:
            raise UsageError(f"--to: {error.problem}", error.hint) from None
    name = given or setting("BACKUP_TO")
    if not name:
        return None
    repository = backup_target.repository(name)
    password = setting("BACKUP_PASSWORD")
    if not password:
        raise StackctlError(
            f"BACKUP_PASSWORD is not set, which encrypts the backups in {name}", _WRITE_ONE
        )
    environ = {"RESTIC_PASSWORD": password, "RESTIC_REPOSITORY": repository}
    if repository.startswith("s3:"):
        environ |= {
            "AWS_ACCESS_KEY_ID": setting("BACKUP_S3_ACCESS_KEY_ID"),
            "AWS_SECRET_ACCESS_KEY": setting("BACKUP_S3_SECRET_ACCESS_KEY"),
        }
    elif backup_target.is_sftp(name):
        environ |= _ssh(name)
    else:
        environ["RESTIC_REPOSITORY"] = MOUNTED
    return Place(name, {key: text for key, text in environ.items() if text})


def _ssh(name: str) -> dict[str, str]:
    keys = {key: setting(key) for key in ("BACKUP_SSH_KEY", "BACKUP_SSH_HOST_KEY")}
    host = name.rpartition("@")[2].removeprefix("sftp:").strip("/").partition("/")[0]
    hints = {
        "BACKUP_SSH_KEY": "Make a key without a passphrase, let the server accept it, and name "
        "its file in .env: BACKUP_SSH_KEY_FILE=/etc/mysite/backup-key",
        "BACKUP_SSH_HOST_KEY": f"Put the line that `ssh-keyscan -t ed25519 {host}` prints into "
        ".env, in single quotes, after comparing it with the server's own.",
    }
    for key, text in keys.items():
        if not text:
            raise StackctlError(f"{key} is not set, which {name} needs", hints[key])
    return keys
