"""`stackctl deploy --image`: an image that CI built, pulled in place of a build."""

from __future__ import annotations

import pytest

from tests.unit.scripted.project import IMAGE
from tests.unit.scripted.stack import Stack, fails, interrupts
from tools.stackctl.releases import prebuilt

REPOSITORY = "registry.example.com:5000/shop"
PUSHED = f"{REPOSITORY}@sha256:{'c' * 64}"


@pytest.fixture
def registry(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Return the stack with a registry that has the release `cccc`."""
    stack.registry[PUSHED] = "sha256:cccc"
    monkeypatch.setattr(prebuilt, "LAYER", "local")
    return stack


def test_deploy_of_an_image_pulls_it_and_builds_nothing(registry: Stack) -> None:
    ended = registry.run("deploy", "--image", PUSHED, "--json")

    assert ended.code == 0 and registry.serves("cccc")
    assert ended.result["release"] == "cccc"
    assert f"pull {REPOSITORY}" in registry.steps
    assert not any(step.startswith("build") for step in registry.steps)
    # By its release's name alone: so it goes with the release.
    names = {name for name, image in registry.images.items() if image == "sha256:cccc"}
    assert names == {f"{IMAGE}:cccc", f"{IMAGE}:latest"}


def test_rollback_returns_to_a_pulled_image(registry: Stack) -> None:
    registry.run("deploy", "--image", PUSHED)
    registry.deploy("dddd")

    assert registry.run("rollback").code == 0
    assert registry.serves("cccc")


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("Error response from daemon: unauthorized", "docker login registry.example.com:5000"),
        ("pull access denied for shop", "docker login registry.example.com:5000"),
        ("manifest unknown: manifest unknown", "Was it pushed there?"),
        ("no matching manifest for linux/arm64", "this machine's platform"),
    ],
)
def test_image_that_cannot_be_pulled_changes_nothing(
    registry: Stack, output: str, shown: str
) -> None:
    registry.faults[f"pull {REPOSITORY}"] = fails(output)

    ended = registry.run("deploy", "--image", PUSHED)

    assert ended.code == 1 and output in ended.err and shown in ended.err
    assert registry.serves("aaaa") and registry.record() == []


def test_interrupted_pull_changes_nothing(registry: Stack) -> None:
    registry.faults[f"pull {REPOSITORY}"] = interrupts

    ended = registry.run("deploy", "--image", PUSHED)

    assert ended.code == 130 and "nothing was changed" in ended.err and registry.serves("aaaa")


@pytest.mark.parametrize(
    "reference", ["shop", "shop:v1", "shop@sha256:12", "-x@sha256:" + 64 * "c"]
)
def test_image_without_its_digest_is_wrong_usage(registry: Stack, reference: str) -> None:
    ended = registry.run("deploy", f"--image={reference}")

    assert ended.code == 2 and "docker buildx imagetools inspect" in ended.err


def test_image_has_its_release_from_its_build(registry: Stack) -> None:
    assert registry.run("deploy", "--image", PUSHED, "--release", "mine").code == 2

    registry.registry[PUSHED] = "sha256:unreleased"
    ended = registry.run("deploy", "--image", PUSHED)
    assert ended.code == 1 and "make push" in ended.err and registry.serves("aaaa")


def test_image_of_the_production_layer_is_refused_in_another(
    registry: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuilt, "LAYER", "production")

    ended = registry.run("deploy", "--image", PUSHED)

    assert ended.code == 1 and "this is local" in ended.err
    assert f"pull {REPOSITORY}" not in registry.steps
