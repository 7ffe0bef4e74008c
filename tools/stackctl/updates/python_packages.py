"""An image's Python packages: known faults by pip-audit, newer versions by pip."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..common import outputs, process
from ..common.console import Console
from ..common.faults import StackctlError
from ..docker import compose, engine

ASK_SECONDS = 300.0
_LIST = """import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"]: d.version for d in m.distributions()}))"""
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True, slots=True)
class Fault:
    """A known fault of a package."""

    package: str
    version: str
    # The number of the advisory, and its other ones.
    names: tuple[str, ...]
    # The first versions without it; none where there is no fix yet.
    fixed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What is known of the packages."""

    faults: list[Fault]
    # Those that the service does not know, such as a team's own.
    unknown: list[str]


def install(console: Console) -> None:
    """Install pip-audit into .venv, at the first call.

    Raises:
        StackctlError: it cannot be installed.
    """
    if not find_spec("pip_audit"):
        with console.step("installing requirements/outdated.txt into .venv"):
            done = process.run("requirements/install", "outdated", seconds=compose.BUILD_SECONDS)
        if not done.ok:
            raise StackctlError("pip-audit is not installed", done.text())
        invalidate_caches()


def installed(image: str) -> dict[str, str]:
    """Return the packages of an image with their versions.

    Raises:
        StackctlError: no container of the image starts.
    """
    listed = engine.docker(
        *("run", "--rm", "--quiet", "--network", "none", "--entrypoint", "python"),
        *(image, "-c", _LIST),
    )
    with outputs.read("docker run python"):
        return {str(name): str(version) for name, version in outputs.mapping(listed).items()}


def describe(packages: Mapping[str, str], folder: Path) -> None:
    """Write the packages' metadata into a folder, as pip and pip-audit read an environment.

    Raises:
        OSError: the folder cannot be written to.
    """
    for name, version in packages.items():
        own = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        own.mkdir()
        (own / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )


def audit(folder: Path) -> Audit:
    """Return the known faults of the packages in a folder.

    Raises:
        StackctlError: the service does not answer, or knows none of the packages.
    """
    result = process.run(
        *(sys.executable, "-m", "pip_audit", "--path", str(folder), "--format", "json"),
        *("--desc", "off", "--aliases", "on", "--progress-spinner", "off"),
        seconds=ASK_SECONDS,
    )
    try:
        answers: list[dict[str, Any]] = outputs.mapping(result.out)["dependencies"]
        unknown = [one["name"] for one in answers if "skip_reason" in one]
        faults = [
            Fault(one["name"], one["version"], (v["id"], *v["aliases"]), tuple(v["fix_versions"]))
            for one in answers
            for v in one.get("vulns", ())
        ]
    except (ValueError, LookupError, TypeError):
        raise _unanswered(result.err) from None
    if answers and len(unknown) == len(answers):
        raise _unanswered("it knows none of the packages")
    return Audit(faults, unknown)


def newer(folder: Path, package: str) -> dict[str, tuple[str, str]]:
    """Return the packages of a folder with a newer version: the present one, and the newest.

    Args:
        folder: what describe() has written.
        package: one that the index has.

    Raises:
        StackctlError: the index does not answer.
    """
    # `pip list --outdated` names no package where it reaches no index: ask for one first.
    for arguments in (("index", "versions", package), ("list", "--outdated", "--format", "json")):
        path = ("--path", str(folder)) if arguments[0] == "list" else ()
        result = process.run(*_PIP, *arguments, *path, "--retries", "1", seconds=ASK_SECONDS)
        if not result.ok:
            raise StackctlError(
                f"pip cannot ask for newer versions: {_last(result.err)}",
                "Does this machine reach the package index? `pip config list` shows which it is.",
            )
    with outputs.read("pip list --outdated"):
        return {
            one["name"]: (one["version"], one["latest_version"]) for one in json.loads(result.out)
        }


def _unanswered(words: str) -> StackctlError:
    return StackctlError(
        f"pip-audit cannot ask for known faults: {_last(words)}",
        "It asks the Python Package Index. With PIP_AUDIT_VULNERABILITY_SERVICE=osv it asks "
        "osv.dev, or the mirror PIP_AUDIT_OSV_URL.",
    )


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
