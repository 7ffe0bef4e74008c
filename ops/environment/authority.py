"""Authorities that sign servers' certificates: a file's path, or the certificates (PEM).

DB_SSL_CA and REDIS_SSL_CA are such.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from .fault import InvalidValueError
from .files import MOUNTED
from .variable import ROOT

_PEM: Final = "-----BEGIN CERTIFICATE-----"
_STARTS: Final = "A certificate begins with"


def check(text: str) -> None:
    """Accept a file of certificates, or their text; the value is never shown.

    Raises:
        InvalidValueError: the file cannot be read, or it has no certificate.
    """
    if "-----BEGIN " in text and _PEM not in text:
        raise InvalidValueError(
            "it has no certificate, but a key or something else", f"{_STARTS} {_PEM}."
        )
    try:
        certificates = text if _PEM in text else (ROOT / text).read_text("ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise InvalidValueError(
            f"the file that it names cannot be read here: {reason}",
            "Write a path from the project's root, or name a file of this machine in NAME_FILE.",
        ) from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        raise InvalidValueError("it has no valid certificate", f"{_STARTS} {_PEM}.") from None


def file_of(name: str, text: str) -> str:
    """Return the path of a file that clients can read; empty for no authority.

    Args:
        name: the variable.
        text: its value.
    """
    if not text:
        return ""
    if _PEM not in text:
        return str(ROOT / text)
    mounted = MOUNTED / name
    return str(mounted) if mounted.is_file() else _in_memory(text)


@cache
def system_file() -> str:
    """Return the file with the authorities that the system trusts; empty where it has none."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or ""


@cache
def _in_memory(text: str) -> str:
    """Return the path of a file that lasts as long as this process and those that it forks."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("authority")
        path = f"/proc/self/fd/{descriptor}"
    else:
        _, path = tempfile.mkstemp(suffix=".pem")
    Path(path).write_text(text, "ascii")
    return path
