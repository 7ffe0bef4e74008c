"""The contents of the images."""

import json
import re
import secrets
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.stack.compose import STACK_NAME, Stack, docker

LAYERS = ("local", "dev", "production")
PRODUCTION = f"{STACK_NAME}-production"
MEGABYTE = 10**6

CACHE_IS_NOT_THERE = ("!", "-e", "/root/.cache")
LIST_PACKAGES = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.name: d.version for d in m.distributions()}))"
)


@pytest.fixture(scope="module")
def packages(tree: Path) -> dict[str, dict[str, str]]:
    """Build the images of all layers; return their Python packages and versions."""
    for layer in LAYERS:
        Stack(tree, layer).compose("build", "--quiet")
    return {layer: packages_of(f"{STACK_NAME}-{layer}") for layer in LAYERS}


def packages_of(image: str) -> dict[str, str]:
    """Return an image's Python packages and their versions."""
    versions = json.loads(docker("run", "--rm", image, "python", "-c", LIST_PACKAGES))
    return {canonicalize_name(name): version for name, version in versions.items()}


def test_all_layers_have_the_same_package_versions(packages: dict[str, dict[str, str]]) -> None:
    assert packages["dev"] == packages["production"]
    assert packages["production"].items() <= packages["local"].items()


def test_local_image_adds_only_development_tools(packages: dict[str, dict[str, str]]) -> None:
    assert set(packages["local"]) - set(packages["production"]) == {
        *("debugpy", "django-debug-toolbar"),
        *("iniconfig", "pluggy", "pygments", "pytest", "pytest-django"),
    }


def test_image_has_exactly_the_locked_packages(
    packages: dict[str, dict[str, str]], tree: Path
) -> None:
    lines = (tree / "requirements" / "production.txt").read_text().splitlines()
    requirements = [Requirement(line.rstrip("\\")) for line in lines if "==" in line]
    image = {"sys_platform": "linux", "python_version": "3.13", "python_full_version": "3.13.5"}
    locked = {
        canonicalize_name(package.name): str(package.specifier).removeprefix("==")
        for package in requirements
        if package.marker is None or package.marker.evaluate(image)
    }

    assert packages["production"] == locked


def test_uwsgi_is_recent_enough(packages: dict[str, dict[str, str]]) -> None:
    version = tuple(int(part) for part in packages["production"]["uwsgi"].split("."))

    assert version >= (2, 0, 31)


def test_production_image_has_no_compiler_and_no_development_tools(
    packages: dict[str, dict[str, str]],
) -> None:
    tools = "cc gcc c++ make pip pip3 git curl wget brotli ruff pytest"
    present = docker(
        *("run", "--rm", PRODUCTION, "sh", "-c"),
        f"for tool in {tools}; do command -v $tool || true; done",
    )

    assert present == ""
    # Fails if the folder exists; only root may check.
    docker("run", "--rm", "--user", "0", "--entrypoint", "test", PRODUCTION, *CACHE_IS_NOT_THERE)
    assert not {"pip", "setuptools", "pytest", "debugpy", "django-debug-toolbar"} & set(
        packages["production"]
    )


def test_production_image_is_at_most_300_mb(packages: object) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", PRODUCTION))

    assert size <= 300 * MEGABYTE


def test_production_image_contains_only_the_listed_files(packages: object) -> None:
    def list_folder(folder: str) -> set[str]:
        return set(docker("run", "--rm", PRODUCTION, "ls", "-A", folder).split())

    # The optional parts that run in this image.
    assert list_folder("/srv/project/variants") == {"asgi", "gunicorn"}
    names = list_folder("/srv/project")

    assert names == {
        *(
            "__pycache__",
            "accounts",
            "api",
            "demo",  # remove_demo
            "manage.py",
            "mysite",
            "nginx",
            "ops",
            "requirements",
            "supervisor",
            "templates",
            "uwsgi",
            "variants",
        ),
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_image_declares_user_port_and_health_check(packages: object, layer: str) -> None:
    config = json.loads(
        docker("image", "inspect", "--format", "{{json .Config}}", f"{STACK_NAME}-{layer}")
    )

    assert config["User"] == "10001:10001"
    assert list(config["ExposedPorts"]) == ["7999/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/srv/project/supervisor/healthcheck"]
    assert f"DJANGO_SETTINGS_MODULE=mysite.settings.{layer}" in config["Env"]
    assert not any("SECRET" in line or "PASSWORD" in line for line in config["Env"])


def test_modules_of_the_production_image_are_compiled(packages: object) -> None:
    """Processes cannot write there, so each start would compile them again."""
    command = ("find", "/srv/project", "-name", "*.py", "-o", "-name", "*.pyc")
    paths = [Path(line) for line in docker("run", "--rm", PRODUCTION, *command).splitlines()]
    modules = {path for path in paths if path.suffix == ".py"}
    compiled = {
        path.parent.parent / f"{path.name.partition('.')[0]}.py"
        for path in paths
        if path.suffix == ".pyc"
    }

    assert modules and compiled == modules


def test_rebuild_after_an_edit_repeats_only_copy_collectstatic_and_compile(
    packages: object, tree: Path
) -> None:
    """A build then takes seconds: no package is installed, no static file compressed again."""
    stack = Stack(tree, "production")
    module = tree / "ops" / "profile.py"
    original = module.read_text()
    mark = f"MARK = '{secrets.token_hex(4)}'"
    try:
        module.write_text(f"{original}\n{mark}\n")
        output = stack.compose("--progress", "plain", "build", "env-check").stdout
        tail = docker("run", "--rm", PRODUCTION, "tail", "-1", "/srv/project/ops/profile.py")
    finally:
        module.write_text(original)
        stack.compose("build", "--quiet")

    assert tail == mark
    assert {step.split()[0] for step in uncached_steps(output)} == {"COPY", "RUN"}
    assert [step for step in uncached_steps(output) if step.startswith("RUN")] == [
        "RUN export DJANGO_BUILD=1 DJANGO_SETTINGS_MODULE=mysite.settings.production"
        " && python manage.py check --deploy"
        " && python manage.py collectstatic --noinput --verbosity 0",
        "RUN python -m compileall -qq /srv || true",
    ]


def uncached_steps(output: str) -> list[str]:
    """Return the steps of a build that were not cached."""
    steps = {
        number: " ".join(step.replace("\\", " ").split())
        for number, step in re.findall(
            r"^#(\d+) \[[^\]]+\] ((?:RUN|COPY) .+)$", output, re.MULTILINE
        )
    }
    cached = set(re.findall(r"^#(\d+) CACHED$", output, re.MULTILINE))
    assert steps and cached, output
    return [step for number, step in steps.items() if number not in cached]


def test_root_dockerfile_builds_the_same_packages(tree: Path, packages: object) -> None:
    image = f"{Stack(tree, 'production').project}-joined"
    docker("build", "--quiet", "--tag", image, "--build-arg", "RELEASE=r7", str(tree))
    try:
        assert packages_of(image) == packages["production"]  # type: ignore[index]
        assert docker("run", "--rm", image, "printenv", "RELEASE") == "r7"
    finally:
        docker("image", "rm", "--force", image)
