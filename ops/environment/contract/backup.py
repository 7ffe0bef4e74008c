"""Backups: where they go, how many stay, and with which keys."""

from __future__ import annotations

from typing import Final

from ops.environment import backup_target
from ops.environment.variable import Kind, Scope, Section, Variable

BACKUP: Final = Section(
    "Backups",
    "Where `./stackctl backup` saves, encrypted: docs/backups.md. Without BACKUP_TO it saves in "
    "the folder backups/. The application never receives these variables.",
    (
        Variable(
            name="BACKUP_TO",
            help="The place for backups: s3://BUCKET/FOLDER, s3:https://SERVER/BUCKET/FOLDER, "
            "sftp://USER@HOST:PORT/FOLDER, or a folder of this machine such as /mnt/backups.",
            scope=Scope.STACK,
            validate=backup_target.validate,
        ),
        Variable(
            name="BACKUP_PASSWORD",
            help="Encrypts the backups in BACKUP_TO. Keep a copy in another place: without it "
            "they cannot be read.",
            secret=True,
            generated=True,
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP_KEEP",
            kind=Kind.INT,
            help="How many backups stay; older ones are removed after a good one. 0: all.",
            default="0",
            minimum=0,
            maximum=10_000,
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP",
            kind=Kind.CHOICE,
            help="1 adds a service that makes a backup each day, for machines without systemd.",
            choices=("0", "1"),
            default="0",
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP_AT",
            help="With BACKUP=1, the time of day in UTC.",
            default="03:00",
            scope=Scope.STACK,
            validate=backup_target.time_of_day,
        ),
        Variable(
            name="BACKUP_S3_ACCESS_KEY_ID",
            help="The access key for BACKUP_TO in S3. Not needed where the machine has an IAM "
            "role.",
            secret=True,
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP_S3_SECRET_ACCESS_KEY",
            help="The secret of that key.",
            secret=True,
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP_SSH_KEY",
            help="The private key for BACKUP_TO by SFTP, without a passphrase; as a file: "
            "BACKUP_SSH_KEY_FILE=/etc/mysite/backup-key.",
            secret=True,
            scope=Scope.STACK,
        ),
        Variable(
            name="BACKUP_SSH_HOST_KEY",
            help="The SFTP server's own key, as `ssh-keyscan -t ed25519 HOST` prints it.",
            scope=Scope.STACK,
        ),
    ),
)
