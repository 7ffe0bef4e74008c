"""The build of a release, with a `docker` that keeps images as the containerd store does."""

from pathlib import Path

import pytest

from tools.stackctl.docker import compose

# An image's id covers the attestation, which has the time of the build.
DOCKER = """#!/bin/sh
case "$*" in
*" build "*)
  cat >"$0.model"
  [ "$BUILDX_NO_DEFAULT_ATTESTATIONS" = 1 ] || date +%N >"$0.id"
  [ -e "$0.id" ] || echo 1 >"$0.id"
  ;;
"image inspect "*) cat "$0.id" ;;
esac
"""


def test_second_build_of_a_commit_has_the_id_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    services = {"server1": {"image": "shop"}, "env-check": {"image": "shop", "build": {}}}
    project = compose.Project("shop", "production", {"services": services})

    first, second = (
        project.build("shop:aaaa", "aaaa", lambda line: None, lambda: False) for _ in range(2)
    )

    assert first == second != ""
