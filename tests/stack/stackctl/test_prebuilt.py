"""`stackctl deploy --image`: a real registry that asks for a password, and the real engine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.stackctl.registry import needs_registry, serving
from tools.stackctl.common.console import Console
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.common.interrupt import Interrupt
from tools.stackctl.docker import compose
from tools.stackctl.releases import prebuilt, release

USER, PASSWORD = "ci", "not-a-secret"
# By bcrypt, the only kind that the registry reads.
HTPASSWD = f"{USER}:$2b$04$ogy8kx0XubP29JBPxC2um.Pk4hr4NX3W2OeWAIJ6F2D4ubFH4ZIUa\n"
pytestmark = needs_registry


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """Run the docker client."""
    return subprocess.run(
        ["docker", *arguments], input=stdin, check=True, capture_output=True, timeout=120
    ).stdout.decode()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a registry that asks for a password, and return its address."""
    # The sign-in is kept here, and not in the user's own configuration.
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serving(tmp_path, HTPASSWD) as address:
        yield address


def sign_in(registry: str) -> None:
    """Sign in as docs/remote.md says."""
    docker(*("login", registry, "--username", USER, "--password-stdin"), stdin=PASSWORD.encode())


def push(registry: str, name: str, words: str) -> str:
    """Push an image of the release `v7`, as CI does, and return its name with the digest."""
    pushed = f"{registry}/{name}"
    archive = subprocess.run(
        ["tar", "c", "--files-from", "/dev/null"], check=True, capture_output=True
    )
    docker("import", "--change", f"ENV RELEASE={words}", "-", pushed, stdin=archive.stdout)
    docker("push", pushed)
    digest = docker("inspect", "--format", "{{index .RepoDigests 0}}", pushed).strip()
    docker("image", "rm", pushed)
    return digest


def test_image_is_pulled_by_its_digest_after_a_sign_in(registry: str, tmp_path: Path) -> None:
    # As the folder of the test: unique on this engine.
    name = f"prebuilt-{registry.partition(':')[2]}"
    model = {"services": {"server1": {"image": f"{name}-production:latest"}}}
    project = compose.Project(name, "production", model)
    sign_in(registry)
    reference = push(registry, name, "v7")
    docker("logout", registry)

    with pytest.raises(StackctlError) as refused:
        prebuilt.pull(project, reference, Console(), Interrupt())
    assert refused.value.hint.endswith(f"docker login {registry}")

    sign_in(registry)
    pulled, image = prebuilt.pull(project, reference, Console(), Interrupt())
    try:
        assert pulled.text == "v7"
        assert release.available(project) == {"v7": image}
    finally:
        docker("image", "rm", f"{name}-production:v7")
    # Its last name: nothing of it is left.
    assert not docker("image", "ls", "--quiet", "--filter", f"reference=*{name}*").strip()
    with pytest.raises(subprocess.CalledProcessError):
        docker("image", "inspect", image)


def test_missing_image_is_named(registry: str) -> None:
    model = {"services": {"server1": {"image": "shop-production:latest"}}}
    sign_in(registry)

    with pytest.raises(StackctlError, match="cannot be pulled") as refused:
        prebuilt.pull(
            compose.Project("shop", "production", model),
            f"{registry}/shop@sha256:{'0' * 64}",
            Console(),
            Interrupt(),
        )
    assert "Was it pushed there?" in refused.value.hint
