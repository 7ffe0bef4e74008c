"""`deploy --pull` and `outdated`, with a real registry, apt, pip and pip-audit."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.stack.compose import docker
from tests.stack.stackctl.registry import needs_registry, serving
from tests.stack.stackctl.site import QUICK, Site, visitors
from tools.stackctl.updates import debian_packages, python_packages, registry

BASE = "debian:trixie-slim"
# A package of an older version, and a repository with a security fix and another update.
OLD_PACKAGES = r"""
FROM debian:trixie-slim
RUN cd /tmp && for each in fixed=1 fixed=2 plain=1 plain=2; do \
        name=${each%=*} version=${each#*=} folder=/srv/${each%=*}; \
        mkdir -p root/DEBIAN $folder && printf 'Package: %s\nVersion: %s\nArchitecture: all\n\
Maintainer: tests <tests@example.com>\nDescription: test\n' $name $version >root/DEBIAN/control \
        && dpkg-deb --build root $folder/$name-$version.deb >/dev/null \
        && { [ $version = 2 ] || dpkg --install $folder/$name-$version.deb; } || exit 1; \
    done \
    && for each in fixed:Debian-Security:stable-security plain:Debian:stable; do \
        name=${each%%:*} rest=${each#*:} && cd /srv/$name \
        && printf 'Package: %s\nVersion: 2\nArchitecture: all\nMaintainer: tests\n\
Filename: ./%s-2.deb\nSize: %s\nSHA256: %s\nDescription: test\n' $name $name \
            $(stat -c %s $name-2.deb) $(sha256sum $name-2.deb | cut -d' ' -f1) >Packages \
        && printf 'Origin: Debian\nLabel: %s\nSuite: %s\nSHA256:\n %s %s Packages\n' \
            ${rest%:*} ${rest#*:} $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) \
            >Release || exit 1; \
    done \
    && rm -f /etc/apt/sources.list.d/* \
    && printf 'deb [trusted=yes] file:/srv/fixed ./\ndeb [trusted=yes] file:/srv/plain ./\n' \
        >/etc/apt/sources.list
"""


def build(name: str, dockerfile: str) -> None:
    """Build an image."""
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=dockerfile,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def registry_address(tmp_path: Path) -> Iterator[str]:
    """Run a registry, and remove the images that came from it."""
    with serving(tmp_path) as address:
        try:
            yield address
        finally:
            form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
            for name in docker(
                "image", "ls", "--digests", "--format", form, f"{address}/*"
            ).split():
                # Only the name: the image may be Debian's own. A digest's goes with its tag.
                subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)


@pytest.fixture
def advisories() -> Iterator[str]:
    """Run a service of advisories like osv.dev, with one for Django, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            package = {"name": asked["package"]["name"], "ecosystem": "PyPI"}
            events = [{"introduced": "0"}, {"fixed": "99.1"}]
            ranges = [{"type": "ECOSYSTEM", "events": events}]
            affected = [{"package": package, "ranges": ranges}]
            known = {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "x", "affected": affected}
            found = {"vulns": [known]} if package["name"].lower() == "django" else {}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()


@needs_registry
def test_deploy_with_pull_rebuilds_a_commit_on_the_newest_base_image(
    site: Site, registry_address: str
) -> None:
    base, compiled = f"{registry_address}/{BASE}", f"{registry_address}/compiled:1"
    for name, image in ((base, BASE), (compiled, f"{site.name}-base")):
        docker("tag", image, name)
        docker("push", "--quiet", name)
    # The Python packages are compiled already: to do it again takes minutes, and proves nothing.
    builder, _, _ = (
        (site.tree / "Dockerfile.base").read_text().partition(f"FROM {BASE} AS mysite-base")
    )

    def is_fresh() -> bool:
        return "fresh" in site.run_in("server1", "ls", "/etc")

    with (
        site.edited("Dockerfile.base", builder, f"FROM {compiled} AS mysite-builder\n"),
        site.edited("Dockerfile.base", f"FROM {BASE}", f"FROM {base}") as commit,
    ):
        site.ctl("deploy", *QUICK)
        build(base, f"FROM {BASE}\nRUN touch /etc/fresh\n")
        docker("push", "--quiet", base)
        # What this machine had before: a newer image is in the registry alone.
        docker("tag", BASE, base)

        with visitors(site):
            site.ctl("deploy", "--pull", *QUICK)
        rebuilt = site.release()
        assert re.fullmatch(rf"{commit}-\d{{8}}-\d{{6}}", rebuilt)
        site.assert_both_run(rebuilt)
        assert is_fresh()

        assert f"every server runs {rebuilt} already" in site.ctl("deploy", *QUICK)

        site.ctl("rollback", *QUICK)
        site.assert_both_run(commit)
        assert not is_fresh()

        # The next commit is built on what was pulled.
        with site.edited("LICENSE", "MIT", "The MIT") as following:
            site.ctl("deploy", *QUICK)
            site.assert_both_run(following)
            assert is_fresh()
    site.ctl("deploy", *QUICK)


def test_outdated_names_faults_of_python_packages_and_unanswered_registries(
    site: Site, advisories: str
) -> None:
    site.environment |= {
        "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
        "PIP_AUDIT_OSV_URL": advisories,
    }

    printed = site.ctl("outdated", code=1)

    assert re.search(r"fault: django 5\S+: PYSEC-1, CVE-1; fixed in 99\.1", printed)
    assert "-> Python: make lock UPGRADE=1" in printed
    for image in ("mysql:9.7", "redis:8.0", "haproxy:3.0"):
        assert re.search(
            rf"^{image} \(.*\)\n  (not answered: its|not answered: it was|its) ", printed, re.M
        )


def test_outdated_debian_packages_are_listed_with_their_security_fixes(tmp_path: Path) -> None:
    name = f"old-packages-{tmp_path.parent.name}"
    build(name, OLD_PACKAGES)
    try:
        updates = debian_packages.updates(name)
    finally:
        docker("image", "rm", name)

    assert sorted((one.name, one.old, one.new, one.security) for one in updates) == [
        ("fixed", "1", "2", True),
        ("plain", "1", "2", False),
    ]


@needs_registry
def test_newer_image_of_a_tag_is_detected(registry_address: str) -> None:
    name = f"{registry_address}/{BASE}"
    docker("tag", BASE, name)
    docker("push", "--quiet", name)
    running = docker("image", "inspect", "--format", "{{.Id}}", name).strip()
    assert not registry.has_newer(name, running)

    build(name, f"FROM {BASE}\nRUN touch /etc/fresh\n")
    docker("push", "--quiet", name)
    assert registry.has_newer(name, running)


def test_newer_python_packages_come_from_the_index(tmp_path: Path) -> None:
    python_packages.describe({"Django": "5.2.0", "a-private-one": "1.0"}, tmp_path)

    newer = python_packages.newer(tmp_path, "Django")

    assert newer["Django"][0] == "5.2.0" and newer["Django"][1] > "5.2"
