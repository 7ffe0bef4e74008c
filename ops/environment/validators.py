"""Checks of single values that go beyond their type.

Each function accepts a text, or raises InvalidValueError: the message says what is wrong with it,
the hint what to write. They repeat no text that may be a secret.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from .fault import InvalidValueError
from .variable import ROOT, did_you_mean

# The characters of a label, which is shown in pages, headers and logs.
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/@-]{0,127}")
_STACK_NAME: Final = re.compile(r"(?=.{1,40}$)[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_ORIGIN: Final = re.compile(r"https?://((\*\.)?[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
# A folder at an origin. It becomes a source of the Content-Security-Policy, so nothing that would
# end one or mean more than itself may be in it.
_FOLDER_URL: Final = re.compile(
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[A-Za-z0-9._~-]+)*/"
)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST: Final = re.compile(r"\*|\.?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_EMAIL: Final = re.compile(r"[^\s@<>,;:\"]+@[A-Za-z0-9.-]+")
_SENDER: Final = re.compile(rf"[^<>@\r\n]+ <{_EMAIL.pattern}>")
_MAIL_SCHEMES: Final = ("smtp", "smtp+tls", "smtp+ssl", "consolemail")
_RATE: Final = re.compile(r"off|[1-9]\d{0,8}/(second|minute|hour|day)")

# 10.0.0.0/8 is private; in a larger network are visitors.
MIN_PREFIX: Final = 8

_CERTIFICATE: Final = re.compile(r"(\./)?certs(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?")


def label(text: str) -> None:
    """Accept a short name without spaces, such as set1 or 2025-01-31.4f2c1ab."""
    if not _LABEL.fullmatch(text):
        raise InvalidValueError(
            f"{text[:40]!r} is not a short name",
            "Use at most 128 letters, digits and . _ : + / @ - without spaces.",
        )


def stack_name(text: str) -> None:
    """Accept what docker takes for images and compose projects alike.

    https://docs.docker.com/reference/cli/docker/image/tag/
    https://docs.docker.com/reference/compose-file/version-and-name/
    """
    if not _STACK_NAME.fullmatch(text):
        raise InvalidValueError(
            f"{text[:40]!r} is not valid in the names of images",
            "Use at most 40 small letters, digits and single - or _ between them, a letter first.",
        )


def module(text: str) -> None:
    """Accept the dotted path of a Python module; one of this project's must exist."""
    if not _MODULE.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not the dotted path of a module",
            "Write it as mysite.settings.dev.",
        )
    path = ROOT.joinpath(*text.split("."))
    exists = path.is_dir() or path.with_suffix(".py").is_file()
    if exists or not text.startswith("mysite."):
        return
    settings = ROOT / "mysite" / "settings"
    names = [f"mysite.settings.{file.stem}" for file in settings.glob("[a-z]*.py")]
    layers = "The layers are mysite.settings.local, .dev and .production."
    raise InvalidValueError(f"there is no module {text}", f"{did_you_mean(text, names)} {layers}")


def language(text: str) -> None:
    """Accept a language code as Django writes them.

    https://docs.djangoproject.com/en/5.2/ref/settings/#language-code
    """
    if not _LANGUAGE.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a language code", "Write it as en-us, de or zh-hans."
        )


def time_zone(text: str) -> None:
    """Accept a time zone that this machine knows."""
    if text == "UTC":
        return
    # Imported here, since most checks never need it.
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    else:
        return
    if not known:
        raise InvalidValueError(
            "this machine has no time zone database", "Install the tzdata package, or use UTC."
        )
    suggestion = did_you_mean(text, known)
    raise InvalidValueError(
        f"{text!r} is not a time zone",
        f"{suggestion} Use a name such as UTC, Europe/Paris or Asia/Seoul.".strip(),
    )


def host(text: str) -> None:
    """Accept a host name, a domain with a leading dot, an address, or *.

    https://docs.djangoproject.com/en/5.2/ref/settings/#allowed-hosts
    """
    if not _HOST.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a host name",
            "Write the name alone, without scheme, port or path: www.example.com, or [::1].",
        )


def certificate_folder(text: str) -> None:
    """Accept a folder in certs/."""
    if not _CERTIFICATE.fullmatch(text):
        raise InvalidValueError(
            f"{text[:60]!r} is not a folder in certs/",
            "Write it as certs/localhost; `make certs` makes that one.",
        )


def origin(text: str) -> None:
    """Accept an origin: scheme, host and perhaps a port."""
    if not _ORIGIN.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not an origin",
            "Write scheme and host, without a path: https://www.example.com.",
        )


def folder_url(text: str) -> None:
    """Accept the address of a folder: scheme, host, perhaps port and path, a / at its end."""
    if not _FOLDER_URL.fullmatch(text):
        raise InvalidValueError(
            f"{text[:80]!r} is not the address of a folder",
            "Write scheme, host and path with a / at its end: https://cdn.example.com/static/.",
        )


def bucket(text: str) -> None:
    """Accept a bucket's name.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not _BUCKET.fullmatch(text):
        raise InvalidValueError(
            f"{text[:80]!r} is not the name of a bucket",
            "Write 3 to 63 small letters, digits, dots and -: mysite-static.",
        )


def bind_address(text: str) -> None:
    """Accept an address that docker compose can publish a port on."""
    try:
        if text.startswith("[") and text.endswith("]"):
            ipaddress.IPv6Address(text[1:-1])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is not an address of this machine",
            "Use 127.0.0.1 for this machine alone, 0.0.0.0 for every network it is on.",
        ) from None


def ipv6_address(text: str) -> None:
    """Accept an IPv6 address in brackets, as docker compose publishes a port on it."""
    if not (text.startswith("[") and text.endswith("]")):
        raise InvalidValueError(
            f"{text!r} is not an IPv6 address in brackets",
            "Use [::] for every network of this machine, [::1] for this machine alone.",
        )
    bind_address(text)


def proxy_network(text: str) -> None:
    """Accept an address or a network of proxies, too small to hold the visitors as well."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidValueError(
            f"{text!r} is neither an address nor a network",
            "Write them as 192.0.2.10, 172.18.0.0/16 or 2001:db8::/32.",
        ) from None
    if network.prefixlen < MIN_PREFIX:
        raise InvalidValueError(
            f"{text!r} holds addresses of visitors, who could then invent theirs",
            f"Name the proxies' networks alone, of /{MIN_PREFIX} or smaller: 192.0.2.0/24.",
        )
    if str(network) != text and str(network.network_address) != text:
        raise InvalidValueError(
            f"{text!r} is not how the network is written", f"Write it as {network}."
        )


def memory(text: str) -> None:
    """Accept an amount of memory in MiB or GiB, as docker compose writes it: 1500m, 2g.

    https://docs.docker.com/reference/compose-file/extension/#specifying-byte-values
    """
    if not re.fullmatch(r"[1-9][0-9]*[mg]", text):
        raise InvalidValueError(
            f"{text!r} is not an amount of memory", "Write megabytes or gigabytes: 1500m, 2g."
        )


def loopback_address(text: str) -> None:
    """Accept an address that only this machine reaches."""
    bind_address(text)
    if not ipaddress.ip_address(text.strip("[]")).is_loopback:
        raise InvalidValueError(
            f"{text!r} is open to other machines, whose X-Forwarded-For would be trusted",
            "Use 127.0.0.1, and reach it from elsewhere through an SSH tunnel.",
        )


def basic_auth_user(text: str) -> None:
    """Accept a user name for HTTP's basic authentication."""
    if not re.fullmatch(r"[A-Za-z0-9._@-]+", text):
        raise InvalidValueError(
            f"{text!r} is not a user name", "Use letters, digits and . _ @ - only."
        )


def rate(text: str) -> None:
    """Accept a number of requests per second, minute, hour or day, or off.

    https://www.django-rest-framework.org/api-guide/throttling/#setting-the-throttling-policy
    """
    if not _RATE.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a rate",
            "Write a number and second, minute, hour or day: 600/minute; or off.",
        )


def redis_url(text: str) -> None:
    """Accept the address of a Redis server."""
    parts = _split(text)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise InvalidValueError(
            "it is not the address of a Redis server",
            "Write redis://:password@host:6379/0, or rediss:// for TLS; percent-encode special "
            "characters of the password.",
        )
    database = parts.path.strip("/")
    if database and not re.fullmatch(r"\d{1,2}", database):
        raise InvalidValueError(
            "what follows the host is not the number of a database",
            "Write a number, as in redis://host:6379/0.",
        )


def url(text: str) -> None:
    """Accept addresses with their schemes. Celery tries several in order, with a ; between them.

    https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-url
    """
    if not all(_split(part).scheme for part in text.split(";")):
        raise InvalidValueError(
            "it is not a URL, or one of several is not",
            "Write each with its scheme, as in amqp://user:password@host//, a ; between them, "
            "and a ; that is part of a password as %3B.",
        )


def email_url(text: str) -> None:
    """Accept the address of a mail server.

    https://django-environ.readthedocs.io/en/latest/types.html#environ-env-email-url
    """
    parts = _split(text)
    if parts.scheme == "smtps":
        raise InvalidValueError(
            "smtps has two meanings",
            "Write smtp+ssl:// for TLS from the start (port 465), smtp+tls:// for STARTTLS (587).",
        )
    if parts.scheme not in _MAIL_SCHEMES:
        raise InvalidValueError(
            "it is not the address of a mail server",
            f"Write smtp+tls://user:password@host:587; the schemes are {', '.join(_MAIL_SCHEMES)}.",
        )
    if parts.scheme != "consolemail" and not parts.hostname:
        raise InvalidValueError(
            "it names no host", "Write smtp+tls://user:password@smtp.example.com:587."
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValueError(
            "something follows the host",
            "Remove it, or percent-encode special characters of the user name and the password: "
            "/ is %2F, ? is %3F, # is %23.",
        )
    if parts.username and not parts.password:
        raise InvalidValueError(
            "it has a user name without a password",
            "Write smtp+tls://user:password@host:587; in the user name, @ is %40.",
        )


def email_address(text: str) -> None:
    """Accept one e-mail address."""
    if not _EMAIL.fullmatch(text):
        raise InvalidValueError(
            f"{text[:80]!r} is not an e-mail address", "Write it as shop@example.com."
        )


def sender(text: str) -> None:
    """Accept an e-mail address, also with a name before it."""
    if not (_EMAIL.fullmatch(text) or _SENDER.fullmatch(text)):
        raise InvalidValueError(
            f"{text[:80]!r} is not a sender",
            "Write shop@example.com, or Shop <shop@example.com>.",
        )


def dsn(text: str) -> None:
    """Accept the address of a project at a collector of errors."""
    parts = _split(text)
    number = parts.path.rpartition("/")[2]
    if parts.scheme not in ("http", "https") or not (parts.username and parts.hostname and number):
        raise InvalidValueError(
            "it is not a DSN",
            "Copy it from the project's settings; it looks like https://key@host/1.",
        )


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise InvalidValueError(
            "it cannot be read as an address",
            "Percent-encode special characters of the user name and the password.",
        ) from None
    return parts
