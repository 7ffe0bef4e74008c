"""./stackctl certs: a local authority and its certificates, which are never lost."""

import ipaddress
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from tools.stackctl.checks import preflight
from tools.stackctl.cli import main
from tools.stackctl.commands import local_ca
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import compose


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project root."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return tmp_path


def certs(*arguments: str, code: int = 0) -> None:
    """Run the command, and check its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["certs", *arguments])
    assert ended.value.code == code


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def expired(folder: Path) -> None:
    """Write a certificate that expired yesterday, with its key."""
    authority = local_ca._read(folder.parent / "ca.pem", folder.parent / "ca.key")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_ca, "CERTIFICATE_DAYS", -1)
        patch.setattr(local_ca, "EARLIER", timedelta(days=2))
        pair = local_ca._certificate(authority, "localhost", [x509.DNSName("localhost")])
    assert abs(pair.certificate.not_valid_after_utc - yesterday) < timedelta(minutes=1)
    (folder / "privkey.pem").write_bytes(local_ca._pem_of(pair.key))
    (folder / "fullchain.pem").write_bytes(pair.certificate.public_bytes(Encoding.PEM))


def test_certs_creates_a_localhost_certificate_and_prints_the_next_steps(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certs()

    authority, site = read(root / "certs/ca.pem"), read(root / "certs/localhost/fullchain.pem")
    # Now, and by a clock that is behind.
    for minutes in (0, 50):
        moment = datetime.now(UTC) - timedelta(minutes=minutes)
        verifier = PolicyBuilder().store(Store([authority])).time(moment.replace(tzinfo=None))
        for subject in (
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ):
            verifier.build_server_verifier(subject).verify(site, [])
    left = site.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=300) < left < timedelta(days=825)
    for key in ("certs/ca.key", "certs/localhost/privkey.pem"):
        assert (root / key).stat().st_mode & 0o777 == 0o600
    assert not list(root.rglob("*.new"))
    output = capsys.readouterr().err
    assert "TLS_CERTIFICATE=certs/localhost" in output
    assert "certs/ca.pem" in output
    assert "curl --cacert certs/ca.pem https://localhost:8443/\n" in output
    assert "PRIVATE KEY" not in output


@pytest.mark.parametrize(
    ("name", "host"),
    [("shop.test", "shop.test"), ("*.shop.test", "www.shop.test"), ("::1", "[::1]")],
)
@pytest.mark.parametrize("in_dotenv", [True, False])
def test_certs_prints_the_url_with_https_port(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    host: str,
    in_dotenv: bool,
) -> None:
    if in_dotenv:
        (root / ".env").write_text("HTTPS_PORT=9443\n")
    else:
        monkeypatch.setenv("HTTPS_PORT", "9443")

    certs(name)

    assert f"curl --cacert certs/ca.pem https://{host}:9443/\n" in capsys.readouterr().err


def test_certs_replaces_a_certificate_only_with_force(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certs()
    before = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}

    certs(code=1)

    assert "--force" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_certs_renews_a_certificate_with_the_same_authority(root: Path) -> None:
    certs()
    authority = (root / "certs/ca.pem").read_bytes()
    before = read(root / "certs/localhost/fullchain.pem").serial_number

    certs("--force")

    assert (root / "certs/ca.pem").read_bytes() == authority
    assert read(root / "certs/localhost/fullchain.pem").serial_number != before


def test_certs_for_other_names_uses_a_separate_folder(root: Path) -> None:
    certs()
    certs("*.shop.test", "192.168.1.5")

    site = read(root / "certs/any.shop.test/fullchain.pem")
    names = site.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.shop.test"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.168.1.5")]
    assert (root / "certs/localhost/fullchain.pem").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("a b", "https://shop.test", "../shop", "", "-a", "a-.b", "a..b", ".a", "a.*.b", "*."),
        "a" * 64,
        "a." * 126 + "ab",
    ],
)
def test_certs_refuses_an_invalid_name(root: Path, name: str) -> None:
    certs("--", name, code=2)

    assert not (root / "certs").exists()


def test_certs_refuses_a_long_invalid_name_without_backtracking(root: Path) -> None:
    """An ambiguous pattern would need exponential time."""
    before = time.process_time()

    certs("a" * 27 + "!", code=2)

    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "name", ["a", "1a.b-c.test", "a" * 63 + ".test", "a." * 126 + "a", "*.shop.test", "shop.test."]
)
def test_certs_accepts_a_valid_name(name: str) -> None:
    assert local_ca._general_name(name) == x509.DNSName(name)


def test_certs_reports_a_missing_authority_key(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must not create a new authority, which users would have to trust again."""
    certs()
    (root / "certs/ca.key").unlink()

    certs("--force", code=1)

    assert "certs/ca.key" in capsys.readouterr().err


def test_certs_refuses_to_sign_with_an_expired_authority(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(local_ca, "AUTHORITY_DAYS", -1)
        patch.setattr(local_ca, "EARLIER", timedelta(days=2))
        certs()
    before = read(root / "certs/localhost/fullchain.pem")

    certs("--force", code=1)

    assert "the authority certs/ca.pem expired at" in capsys.readouterr().err
    assert read(root / "certs/localhost/fullchain.pem") == before


def test_certs_reports_a_key_of_another_authority(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certs()
    (root / "certs/ca.key").write_bytes((root / "certs/localhost/privkey.pem").read_bytes())

    certs("--force", code=1)

    assert "does not belong" in capsys.readouterr().err


def project(certificate: str | None) -> compose.Project:
    """Return a project with or without a certificate."""
    ports = [
        {"target": target, "published": str(target), "host_ip": "0.0.0.0"}
        for target in (8080, 8443, 8888)
    ]
    services = {
        "haproxy": {"ports": ports},
        "certificates": {"environment": {"TLS_CERTIFICATE": certificate}},
    }
    return compose.Project("project", "local", {"name": "project", "services": services})


def test_stackctl_requests_the_site_by_https_with_a_certificate() -> None:
    assert project(None).site().url == "http://localhost:8080/"
    assert project("certs/localhost").site().url == "https://localhost:8443/"


@pytest.mark.parametrize(
    ("result", "problem", "hint"),
    [
        (process.Result(0, "certs/a/fullchain.pem is valid until 2030\n", ""), "", ""),
        (process.Result(1, "there is no file\nMake it.\n", ""), "there is no file", "Make it."),
        (process.Result(1, "", "no such image\n"), "no such image", ""),
    ],
)
def test_preflight_reports_the_certificate_check(
    monkeypatch: pytest.MonkeyPatch, result: process.Result, problem: str, hint: str
) -> None:
    monkeypatch.setattr(process, "run", lambda *_, **__: result)

    check = preflight._certificate(project("certs/a"))

    assert check.ok == (not problem)
    assert problem in check.problem
    assert check.hint == hint


def test_certs_reports_a_folder_that_is_not_writable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, content: bytes, mode: int) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(local_ca, "_write", denied)

    with pytest.raises(StackctlError, match="Permission denied"):
        local_ca.make(_silent(), (), force=False)


def _silent() -> local_ca.Console:
    return local_ca.Console(as_json=True)
