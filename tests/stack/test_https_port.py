"""The redirect to https, for the ports that a stack may have."""

from pathlib import Path

import httpx
import pytest

from tests.authorities import Authority
from tests.stack.bench import Bench
from tests.stack.test_trusted_proxies import haproxy


@pytest.mark.parametrize(("port", "named"), [("443", ""), ("8443", ":8443")])
def test_redirect_to_https_names_its_port_unless_it_is_443(
    bench: Bench, tree: Path, tmp_path: Path, port: str, named: str
) -> None:
    (tmp_path / "site.pem").write_text("".join(Authority().certificate("localhost")))
    tmp_path.chmod(0o755)
    mounted = ("--volume", f"{tmp_path}:/srv/certificates:ro")
    variables = {"HTTPS_PORT": port, "DJANGO_ALLOWED_HOSTS": "localhost"}
    with haproxy(f"https-{port}", tree, *mounted, **variables) as published:
        answer = httpx.get(f"http://localhost:{published}/who?a=1")

    assert (answer.status_code, answer.headers["Location"]) == (
        308,
        f"https://localhost{named}/who?a=1",
    )
