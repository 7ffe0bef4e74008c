"""HTTPS with HAProxy: TLS versions, redirects, host names, and wrong certificates."""

import http.client
import json
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.chaos.release import stackctl
from tests.ports import free_port
from tests.stack.bench import shared
from tests.stack.compose import Stack, docker
from tests.stack.tls import SecureStack, make_certificate, start_balancer, with_certificate
from tests.unit.test_stackctl_certs import expired
from tests.waiting import eventually

CHALLENGES = "/.well-known/acme-challenge"
HSTS = "Strict-Transport-Security"


@pytest.fixture(scope="module")
def tls(production: Stack) -> Iterator[SecureStack]:
    """Start the production stack with a certificate, and remove it afterwards."""
    with with_certificate(production) as secure:
        yield secure


def test_certificate_is_valid_only_with_the_local_authority(tls: SecureStack) -> None:
    for name in ("localhost", "127.0.0.1", "::1"):
        with tls.handshake(tls.ssl_context(), name) as connection:
            assert connection.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.handshake(ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.handshake(tls.ssl_context(), "www.example.com")


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)]
)
def test_http2_is_preferred(tls: SecureStack, offered: list[str], chosen: str | None) -> None:
    context = tls.ssl_context()
    if offered:
        context.set_alpn_protocols(offered)

    with tls.handshake(context) as connection:
        assert connection.selected_alpn_protocol() == chosen


def test_http2_requests_succeed(tls: SecureStack) -> None:
    with httpx.Client(http2=True, verify=tls.ssl_context()) as client:
        answers = [client.get(tls.url(path)) for path in ("/profile/", "/status/", "/profile/")]

    assert [answer.http_version for answer in answers] == ["HTTP/2"] * 3
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json()["settings"] == "production"


def limited_context(tls: SecureStack, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """Return the context of a client with only this version and these ciphers."""
    context = tls.ssl_context()
    # Also ciphers that the local TLS library disables by default.
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_versions_and_ciphers_are_refused(tls: SecureStack) -> None:
    with tls.handshake(
        limited_context(tls, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")
    ) as connection:
        assert connection.version() == "TLSv1.2"

    with pytest.raises(ssl.SSLError, match="alert protocol version"):
        tls.handshake(limited_context(tls, ssl.TLSVersion.TLSv1_1, "ALL"))
    with pytest.raises(ssl.SSLError, match="alert handshake failure"):
        tls.handshake(limited_context(tls, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"))


def test_tls_session_is_not_kept_in_a_ticket(tls: SecureStack) -> None:
    """Whoever gets the ticket key could decrypt what was recorded before."""
    context = limited_context(tls, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")

    with tls.handshake(context) as connection:
        assert connection.session is not None and not connection.session.has_ticket


@pytest.mark.parametrize(
    "first", [f"ECDHE-ECDSA-AES{size}" for size in ("128-GCM-SHA256", "256-GCM-SHA384")]
)
def test_client_chooses_the_cipher(tls: SecureStack, first: str) -> None:
    ciphers = f"{first}:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"

    with tls.handshake(limited_context(tls, ssl.TLSVersion.TLSv1_2, ciphers)) as connection:
        assert (connection.cipher() or ("",))[0] == first


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/profile/?format=txt&a=%20b", "/livez/x", "//a//healthz"])
def test_http_redirects_to_https(tls: SecureStack, method: str, path: str) -> None:
    address = f"http://localhost:{tls.stack.http_port}"
    request = requests.Request(method, address).prepare()
    # Set after prepare(), which would normalize it.
    request.url = f"{address}{path}"
    answer = requests.Session().send(request, allow_redirects=False, timeout=10)

    assert answer.status_code == 308
    assert answer.headers["Location"] == tls.url(path)
    # Otherwise browsers would keep redirecting without a certificate.
    assert answer.headers["Cache-Control"] == "no-store"


def test_http_request_without_a_host_gets_400(tls: SecureStack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", tls.stack.http_port, timeout=10)
    connection.putrequest("GET", "/profile/", skip_host=True)
    connection.endheaders()

    assert connection.getresponse().status == 400


def request_redirect(port: int, host: str) -> tuple[int, str]:
    """Send an HTTP request with this host; return status and Location."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/profile/", headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.headers.get("Location", "")


@pytest.mark.parametrize("host", ["LOCALHOST", "localhost:80", "127.0.0.1:1234", "localhost."])
def test_http_redirect_accepts_every_allowed_host_name(tls: SecureStack, host: str) -> None:
    status, location = request_redirect(tls.stack.http_port, host)

    assert status == 308
    assert location.startswith(f"https://{host.partition(':')[0].lower()}:{tls.port}/")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil.localhost", "xlocalhost", "127.0.0.11"),
        *("localhost@evil.example", "localhost/evil.example", "evil.example,localhost", "*", ","),
        *(
            "evil.example|,evil.example,",
            "localhost|",
            "27.0.0.1",
            "localhos",
            "",
            ".",
            ".localhost",
            "localhost,127.0.0.1",
        ),
    ],
)
def test_http_redirect_refuses_other_host_names(tls: SecureStack, host: str) -> None:
    """A client could otherwise choose the target of a cached redirect."""
    assert request_redirect(tls.stack.http_port, host) == (400, "")


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (".shop.example, other.example", "a.b.shop.example", 308),
        (".shop.example", "shop.example", 308),
        (".shop.example", "ashop.example", 400),
        ("a.shop.example", "b.a.shop.example", 400),
        ("other.example,*", "any.example", 308),
        ("other.example,*", "any.example/path", 400),
        ("[::1]", "[::1]:8080", 308),
        ("a-b.example", "a.b.example", 400),
    ],
)
def test_haproxy_matches_allowed_hosts_as_django_does(
    tls: SecureStack, allowed: str, host: str, status: int
) -> None:
    """https://docs.djangoproject.com/en/5.2/ref/settings/#allowed-hosts."""
    name, port = f"{tls.stack.project}-names", free_port()
    docker(
        *("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8080"),
        *("--volume", f"{tls.stack.tree}/haproxy:/config:ro"),
        *("--volume", f"{tls.stack.project}_certificates:/srv/certificates:ro"),
        *("--tmpfs", "/var/lib/haproxy:uid=99,gid=99", "--env", "HAPROXY_BALANCE=roundrobin"),
        *("--env", "WEB_CONCURRENCY=2", "--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p"),
        *("--env", "HTTPS_PORT=8443", "--env", f"DJANGO_ALLOWED_HOSTS={allowed}"),
        *shared(tls.stack.tree),
        *("--entrypoint", "/config/start", "haproxy:3.0", "docker-entrypoint.sh"),
        *("haproxy", "-f", "/config/haproxy.cfg"),
    )
    try:
        response = eventually(
            lambda: request_redirect(port, host), seconds=10, what="HAProxy answers"
        )
    finally:
        docker("rm", "--force", name)
    assert response[0] == status


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_probes_are_answered_over_http(tls: SecureStack, path: str) -> None:
    assert tls.stack.get(path, allow_redirects=False).status_code == 200
    assert tls.get(path).status_code == 200


def test_django_detects_https_requests(tls: SecureStack) -> None:
    assert tls.get("/profile/").headers[HSTS].startswith("max-age=3600")
    assert tls.get("/healthz").headers[HSTS].startswith("max-age=3600")
    # Django accepts the Origin header of browsers.
    with requests.Session() as visitor:
        ca_file = str(tls.authority)
        page = visitor.get(tls.url("/accounts/login/"), verify=ca_file, timeout=10)
        (cookie,) = [cookie for cookie in visitor.cookies if cookie.name == "csrftoken"]
        headers = {"Origin": tls.url(""), "X-CSRFToken": cookie.value or ""}
        sent = visitor.post(
            page.url, data={"username": "x"}, headers=headers, verify=ca_file, timeout=10
        )
    assert cookie.secure
    assert sent.status_code == 200


@pytest.mark.parametrize(
    "forged",
    [{"X-Forwarded-Proto": "https"}, {"Forwarded": "proto=https"}, {"X-Forwarded-Ssl": "on"}],
)
def test_clients_cannot_forge_https(tls: SecureStack, forged: dict[str, str]) -> None:
    assert HSTS not in tls.stack.get("/healthz", headers=forged).headers
    answer = tls.stack.get("/profile/", headers=forged, allow_redirects=False)
    assert answer.status_code == 308
    assert HSTS in tls.get("/healthz", headers={"X-Forwarded-Proto": "http"}).headers


def test_acme_challenge_is_answered_over_http(tls: SecureStack) -> None:
    """The test writes to the webroot, like certbot; it is shared with the servers."""
    docker(
        *("run", "--rm", "--user", "0", "--volume", f"{tls.stack.project}_acme:/srv/acme"),
        *("--entrypoint", "sh", "haproxy:3.0", "-c"),
        f"mkdir -p /srv/acme{CHALLENGES}; printf key.print >/srv/acme{CHALLENGES}/token",
    )

    for ask in (tls.stack.get, tls.get):
        answer = ask(f"{CHALLENGES}/token", allow_redirects=False)
        assert (answer.status_code, answer.text) == (200, "key.print")
        assert answer.headers["Content-Type"] == "text/plain"
        assert ask(f"{CHALLENGES}/other", allow_redirects=False).status_code == 404
    assert tls.stack.get("/.well-known/other", allow_redirects=False).status_code == 308


def test_only_haproxy_can_read_the_key(tls: SecureStack) -> None:
    folder = "/srv/certificates"
    stated = tls.stack.run_in("haproxy", "stat", "-c", "%a %u:%g", f"{folder}/site.pem")

    assert stated.split() == ["400", "99:99"]
    for service in ("server1", "worker", "migrate"):
        assert folder not in tls.stack.inspect(service, "{{json .Mounts}}")


def test_aborted_copy_of_the_certificate_is_replaced(tls: SecureStack) -> None:
    folder = "/srv/certificates"
    leftover = f"{folder}/site.pem.new"
    docker(
        *("run", "--rm", "--user", "0", "--volume", f"{tls.stack.project}_certificates:{folder}"),
        *("--entrypoint", "sh", "haproxy:3.0", "-c"),
        f"touch {leftover}; chmod 400 {leftover}; chown 99:99 {leftover}",
    )

    tls.stack.compose("run", "--rm", "--no-deps", "-T", "certificates")

    assert tls.stack.run_in("haproxy", "ls", folder).split() == ["site.pem"]


def test_doctor_checks_the_certificate_and_https(tls: SecureStack) -> None:
    checks = doctor(tls)

    assert checks["certificate"]["ok"] and "is valid until" in checks["certificate"]["fact"]
    assert checks["site"]["fact"] == f"answers on port {tls.port}"
    assert checks[f"port {tls.port}"]["fact"] == "HTTPS_PORT, held by this stack"


def doctor(tls: SecureStack) -> dict[str, dict[str, Any]]:
    """Return the checks of the doctor by name."""
    result = json.loads(stackctl(tls.stack, "doctor", "--json").stdout.splitlines()[-1])
    return {check["name"]: check for check in result["checks"]}


@contextmanager
def restored_folder(folder: Path) -> Iterator[None]:
    """Restore the content of a folder after the block."""
    copy = folder.with_name("kept")
    shutil.copytree(folder, copy)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        copy.rename(folder)


def lock_with_passphrase(folder: Path) -> None:
    """Encrypt the key with a passphrase."""
    path = folder / "privkey.pem"
    key = load_pem_private_key(path.read_bytes(), password=None)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )


WRONG_CERTIFICATES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (
        lambda folder: (folder / "fullchain.pem").unlink(),
        "there is no certs/localhost/fullchain.pem",
        "make certs",
    ),
    "readable": (
        lambda folder: (folder / "privkey.pem").chmod(0o640),
        "certs/localhost/privkey.pem can be read by others than its owner (mode 640)",
        "chmod 600 certs/localhost/privkey.pem",
    ),
    "garbage": (
        lambda folder: (folder / "fullchain.pem").write_text("nothing\n"),
        "certs/localhost/fullchain.pem is not a certificate in PEM form",
        "-----BEGIN CERTIFICATE-----",
    ),
    "passphrase": (
        lock_with_passphrase,
        "certs/localhost/privkey.pem is not a key in PEM form without a passphrase",
        "openssl pkey",
    ),
    "expired": (expired, "the certificate certs/localhost/fullchain.pem expired at", "FORCE=1"),
}


@pytest.mark.parametrize("fault", WRONG_CERTIFICATES)
def test_wrong_certificate_is_reported_with_the_fix(tls: SecureStack, fault: str) -> None:
    spoil, problem, hint = WRONG_CERTIFICATES[fault]
    with restored_folder(tls.folder):
        spoil(tls.folder)
        output = tls.stack.compose(
            "run", "--rm", "--no-deps", "-T", "certificates", "check", check=False
        )

    assert output.returncode == 1
    assert problem in output.stdout
    assert hint in output.stdout


def test_reload_refuses_the_key_of_another_certificate_and_keeps_the_previous_one(
    tls: SecureStack,
) -> None:
    before = tls.serial()
    with restored_folder(tls.folder):
        key = (tls.folder / "privkey.pem").read_bytes()
        make_certificate(tls.stack, "--force")
        (tls.folder / "privkey.pem").write_bytes(key)
        refused = stackctl(tls.stack, "reload", "--json")
        check = doctor(tls)["certificate"]
        # Compose also reports it, and does not change the running HAProxy.
        started = tls.stack.compose("up", "--detach", "--wait", "haproxy", check=False)
        logged = tls.stack.run_documented("docker compose logs certificates")

    result = json.loads(refused.stdout.splitlines()[-1])
    assert refused.returncode == result["code"] == 1
    assert "nothing was changed" in result["error"]
    assert started.returncode == 1
    assert 'service "certificates" didn\'t complete successfully' in started.stdout
    for problem in (result["error"], check["problem"], logged):
        assert "privkey.pem does not belong to the certificate" in problem
    assert tls.serial() == before
    # HAProxy also starts with the previous certificate.
    tls.stack.compose("restart", "haproxy")
    start_balancer(tls.stack)
    assert tls.serial() == before
