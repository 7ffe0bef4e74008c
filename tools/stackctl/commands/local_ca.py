"""A local authority and certificates of it, for https where no public authority can reach the site.

They lie in certs/, which git ignores. Browsers and tools believe them once ca.pem is trusted.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..checks.variables import variable
from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, UsageError

FOLDER = "certs"
NAMES = ("localhost", "127.0.0.1", "::1")
AUTHORITY_DAYS = 3650
# Apple's systems refuse more than 825 days: https://support.apple.com/103769
CERTIFICATE_DAYS = 365
# Other machines' clocks may be a little behind.
EARLIER = timedelta(hours=1)
# Each label ends at its dot, so there is one way to read a name, however long it is.
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{_LABEL}(\.{_LABEL})*\.?")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(console: Console, names: Sequence[str], *, force: bool) -> dict[str, Any]:
    """Make a certificate for these names, and the authority where there is none yet.

    Args:
        console: where to report to.
        names: host names and addresses; the first names the folder.
        force: also where there is a certificate, which is replaced. The authority stays.

    Raises:
        StackctlError: there is one already, or a file cannot be read or written.
    """
    names = tuple(names) or NAMES
    san = [_general_name(name) for name in names]
    root = process.ROOT / FOLDER
    folder = root / _folder_of(names[0])
    chain, key = folder / "fullchain.pem", folder / "privkey.pem"
    if not force and (chain.exists() or key.exists()):
        raise StackctlError(
            f"{_shown(folder)} holds a certificate already; nothing was changed",
            "To replace it: make certs FORCE=1 (or ./stackctl certs --force). The authority stays "
            "trusted where it is already.",
        )
    try:
        root.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        authority = _authority(root, console)
        pair = _certificate(authority, names[0], san)
        # The key first: a reader in between sees that the two do not belong together.
        _write(key, _pem_of(pair.key), 0o600)
        _write(chain, pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise StackctlError(
            f"{error.filename} cannot be written: {error.strerror}",
            f"{FOLDER}/ has to be yours: sudo chown -R $USER {FOLDER}",
        ) from None
    until = pair.certificate.not_valid_after_utc
    console.good(f"{_shown(chain)}: {', '.join(names)}, until {until:%Y-%m-%d}")
    _print_next_steps(console, root / "ca.pem", folder, _url(names[0]))
    return {
        "certificate": _shown(chain),
        "key": _shown(key),
        "authority": _shown(root / "ca.pem"),
        "names": list(names),
        "until": until.isoformat(),
        "code": int(ExitCode.OK),
    }


def _url(name: str) -> str:
    """Return the site's address by a name of its certificate."""
    host = f"[{name}]" if ":" in name else name.replace("*", "www")
    return f"https://{host}:{variable('HTTPS_PORT')}/"


def _print_next_steps(console: Console, authority: Path, folder: Path, url: str) -> None:
    shown = _shown(authority)
    console.lines(
        f"HAProxy uses it with this line in .env: TLS_CERTIFICATE={_shown(folder)}\n"
        "A renewed one is brought into service by: ./stackctl reload\n"
        f"To trust it on this machine, once ({shown} alone; keep {FOLDER}/ca.key to yourself):\n"
        f"    curl:     curl --cacert {shown} {url}\n"
        f"    Debian:   sudo cp {shown} "
        "/usr/local/share/ca-certificates/mysite.crt && "
        "sudo update-ca-certificates\n"
        "    macOS:    sudo security add-trusted-cert -d -r trustRoot "
        f"-k /Library/Keychains/System.keychain {shown}\n"
        f"    Windows:  certutil -addstore -user Root {shown}\n"
        "    Firefox, and Chrome on Linux, keep authorities of their own: "
        "Settings, Certificates, Authorities, Import"
    )


def _authority(root: Path, console: Console) -> Pair:
    """Return the authority in this folder, a new one where there is none."""
    certificate, key = root / "ca.pem", root / "ca.key"
    if certificate.exists() or key.exists():
        return _read(certificate, key)
    pair = _new_authority()
    _write(key, _pem_of(pair.key), 0o600)
    _write(certificate, pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    console.good(f"{_shown(certificate)}: this machine's own certificate authority")
    return pair


def _read(certificate: Path, key: Path) -> Pair:
    try:
        read = serialization.load_pem_private_key(key.read_bytes(), password=None)
        pair = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StackctlError(
            f"the authority in {FOLDER}/ cannot be used: {reason}",
            f"Bring back {_shown(certificate)} and {_shown(key)}, or remove both for a new one, "
            "which has to be trusted again.",
        ) from None
    if not isinstance(read, ec.EllipticCurvePrivateKey) or read.public_key() != pair.public_key():
        raise StackctlError(
            f"{_shown(key)} does not belong to {_shown(certificate)}",
            "Remove both for a new authority, which has to be trusted again.",
        )
    if pair.not_valid_after_utc < datetime.now(UTC):
        raise StackctlError(
            f"the authority {_shown(certificate)} expired at {pair.not_valid_after_utc:%Y-%m-%d}",
            f"Remove it and {_shown(key)} for a new one, which has to be trusted again.",
        )
    return Pair(pair, read)


def _new_authority() -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # Distinguishes the authorities of two clones in a list of trusted ones.
    name = _subject(f"mysite local authority {os.urandom(4).hex()}")
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    certificate = (
        _builder(name, name, public, AUTHORITY_DAYS)
        # It can make certificates of sites, not further authorities.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _certificate(authority: Pair, name: str, san: Sequence[x509.GeneralName]) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer.value)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    # The field holds 64 letters, and no client reads it any more.
    subject = _subject(name[:64])
    certificate = (
        _builder(subject, authority.certificate.subject, key.public_key(), CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - EARLIER,
        not_valid_after=now + timedelta(days=days),
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} is neither a host name nor an address",
            "Write it as localhost, shop.test, *.shop.test or 192.168.1.5.",
        )
    return x509.DNSName(text)


def _folder_of(name: str) -> str:
    return name.replace("*", "any").replace(":", "-")


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; it never has more rights than these."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.chmod(mode)
    new.replace(path)


def _shown(path: Path) -> str:
    return str(path.relative_to(process.ROOT))
