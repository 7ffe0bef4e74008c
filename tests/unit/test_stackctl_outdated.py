"""`stackctl outdated`: what is printed, and the exit code that a cron job reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripted.project import IMAGE
from tests.unit.scripted.stack import Stack
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.updates import debian_packages, python_packages, registry
from tools.stackctl.updates.debian_packages import Update
from tools.stackctl.updates.python_packages import Audit, Fault

FIX = Update("libc6", "2.41-12", "2.41-12+deb13u1", security=True)
APT = """NOTE: This is only a simulation!
Inst tzdata [2025a-1] (2026b-1 Debian:13.9/stable [all])
Inst libc6 [2.41-12] (2.41-12+deb13u1 Debian:13.9/stable, Debian-Security:13/x [amd64])
Conf tzdata (2026b-1 Debian:13.9/stable [all])
"""


@pytest.fixture
def current(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Return a stack of which all is up to date."""
    monkeypatch.setattr(python_packages, "install", lambda _: None)
    monkeypatch.setattr(python_packages, "installed", lambda _: {"Django": "5.2.1"})
    monkeypatch.setattr(python_packages, "audit", lambda _: Audit([], []))
    monkeypatch.setattr(python_packages, "newer", lambda *_: {})
    monkeypatch.setattr(debian_packages, "updates", lambda _: [])
    monkeypatch.setattr(registry, "has_newer", lambda *_: False)
    return stack


@pytest.fixture
def printing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Return a function that sets what each program prints, and returns the list of calls."""

    def prints(*results: process.Result) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []
        left = list(results)

        def run(*command: str, **_: object) -> process.Result:
            calls.append(command)
            return left.pop(0)

        monkeypatch.setattr(process, "run", run)
        return calls

    return prints


def unanswered(*_: object) -> None:
    raise StackctlError("it is unreachable", "Connect it.")


def test_stack_that_is_up_to_date_ends_with_0(current: Stack) -> None:
    ended = current.run("outdated")

    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"{IMAGE} (server1, server2, worker): up to date",
        "haproxy:3.0 (haproxy): up to date",
        "mysql:9.7 (db): up to date",
        "redis:8.0 (redis): up to date",
    ]


def test_known_fault_of_a_python_package(current: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault("django", "5.2.1", ("PYSEC-1", "CVE-1"), ("5.2.3", "6.0.1"))
    without_fix = Fault("sqlparse", "0.5", ("PYSEC-2",), ())
    monkeypatch.setattr(
        python_packages, "audit", lambda _: Audit([fault, without_fix], ["a-private-one"])
    )

    ended = current.run("outdated")

    assert ended.code == 1
    assert "  fault: django 5.2.1: PYSEC-1, CVE-1; fixed in 5.2.3, 6.0.1\n" in ended.out
    assert "  fault: sqlparse 0.5: PYSEC-2; no fix yet\n" in ended.out
    assert "  note: not known to pip-audit: a-private-one\n" in ended.out
    assert ended.out.count("-> Python: make lock UPGRADE=1") == 1


def test_newer_python_packages_are_a_note(current: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_packages, "newer", lambda *_: {"Django": ("5.2.1", "5.2.3")})

    ended = current.run("outdated")

    assert ended.code == 0
    assert "  note: newer Python packages: Django 5.2.1 -> 5.2.3\n" in ended.out


def test_debian_updates_of_the_own_image_are_old_and_of_public_images_a_note(
    current: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        debian_packages, "updates", lambda image: [FIX] if image == "sha256:aaaa" else []
    )
    line = "security update: libc6 2.41-12 -> 2.41-12+deb13u1"
    ended = current.run("outdated")
    assert ended.code == 1
    assert f"  {line}\n" in ended.out and "-> Debian: ./stackctl deploy --pull\n" in ended.out

    monkeypatch.setattr(
        debian_packages, "updates", lambda image: [FIX] if image == "redis:8.0" else []
    )
    ended = current.run("outdated")
    assert ended.code == 0
    assert f"redis:8.0 (redis): up to date\n  note: {line}\n" in ended.out


def test_newer_image_of_a_tag_has_the_command_that_brings_it(
    current: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "has_newer", lambda name, _: name == "redis:8.0")

    ended = current.run("outdated")

    assert ended.code == 1
    assert "redis:8.0 (redis)\n  its registry has a newer redis:8.0\n" in ended.out
    assert (
        "docker pull redis:8.0 && docker compose up --detach --wait --no-deps redis " in ended.out
    )


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (python_packages, "audit"),
        (python_packages, "newer"),
        (python_packages, "installed"),
        (debian_packages, "updates"),
        (registry, "has_newer"),
    ],
)
def test_question_without_an_answer_is_not_up_to_date(
    current: Stack, monkeypatch: pytest.MonkeyPatch, module: object, function: str
) -> None:
    monkeypatch.setattr(module, function, unanswered)

    ended = current.run("outdated")

    assert ended.code == 1
    assert "  not answered: it is unreachable\n" in ended.out and "-> Connect it.\n" in ended.out


def test_stack_without_images_names_up(current: Stack) -> None:
    current.containers.clear()
    current.images.clear()

    ended = current.run("outdated")

    assert ended.code == 1 and "./stackctl up" in ended.err


def test_apt_output_is_read(printing: Callable[..., list[tuple[str, ...]]]) -> None:
    printing(process.Result(0, APT, ""))

    assert debian_packages.updates("image") == [
        Update("tzdata", "2025a-1", "2026b-1", security=False),
        FIX,
    ]


def test_image_without_apt_has_no_debian_updates(
    printing: Callable[..., list[tuple[str, ...]]],
) -> None:
    printing(process.Result(debian_packages.NO_APT, "", ""))

    assert debian_packages.updates("image") == []


def test_apt_without_network_is_no_answer(
    printing: Callable[..., list[tuple[str, ...]]],
) -> None:
    printing(process.Result(100, "", "W: x\nE: Failed to fetch http://packages.example.com\nlast"))

    with pytest.raises(StackctlError, match="apt cannot ask for updates: E: Failed to fetch"):
        debian_packages.updates("image")


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (process.Result(1, "", "Traceback\n  x\nrequests.ConnectionError: no route\n"), "no route"),
        (
            process.Result(0, '{"dependencies": [{"name": "a", "skip_reason": "unknown"}]}', ""),
            "it knows none of the packages",
        ),
    ],
)
def test_audit_without_an_answer(
    printing: Callable[..., list[tuple[str, ...]]],
    tmp_path: Path,
    result: process.Result,
    shown: str,
) -> None:
    printing(result)

    with pytest.raises(StackctlError, match=shown) as fault:
        python_packages.audit(tmp_path)
    assert "PIP_AUDIT_VULNERABILITY_SERVICE=osv" in fault.value.hint


def test_index_that_does_not_answer_is_not_asked_for_all_packages(
    printing: Callable[..., list[tuple[str, ...]]], tmp_path: Path
) -> None:
    calls = printing(process.Result(1, "", "ERROR: No matching distribution found for Django"))

    with pytest.raises(StackctlError, match="No matching distribution"):
        python_packages.newer(tmp_path, "Django")
    assert len(calls) == 1


@pytest.mark.parametrize(("remote", "is_newer"), [("sha256:1", False), ("sha256:2", True)])
def test_digest_of_the_registry_is_compared(
    printing: Callable[..., list[tuple[str, ...]]], remote: str, is_newer: bool
) -> None:
    local = json.dumps(["redis@sha256:0", "redis@sha256:1"])
    printing(process.Result(0, local, ""), process.Result(0, json.dumps({"digest": remote}), ""))

    assert registry.has_newer("redis:8.0", "sha256:id") is is_newer


def test_image_that_was_built_here_cannot_be_compared(
    printing: Callable[..., list[tuple[str, ...]]],
) -> None:
    printing(process.Result(0, "[]", ""), process.Result(0, '{"digest": "sha256:1"}', ""))

    with pytest.raises(StackctlError, match="built on this machine"):
        registry.has_newer("redis:8.0", "sha256:id")


def test_sbom_has_the_python_and_debian_packages(
    current: Stack, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    package = debian_packages.Package("libc6", "2.41-12+deb13u1", "amd64")
    monkeypatch.setattr(debian_packages, "installed", lambda _: [package])
    path = current.root / "sbom.json"

    assert current.run("sbom", "--output", str(path)).code == 0

    written = json.loads(path.read_text())
    assert written["bomFormat"] == "CycloneDX"
    described = written["metadata"]["component"]
    assert (described["name"], described["version"]) == (IMAGE, "aaaa")
    assert [one["purl"] for one in written["components"]] == [
        "pkg:pypi/django@5.2.1",
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64",
    ]
    assert not recwarn.list


def test_sbom_is_printed_without_a_file(current: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_packages, "installed", lambda _: [])

    ended = current.run("sbom")

    assert ended.code == 0 and json.loads(ended.out)["bomFormat"] == "CycloneDX"


def test_dpkg_output_is_read(printing: Callable[..., list[tuple[str, ...]]]) -> None:
    printing(process.Result(0, "apt 3.0.4 amd64\ntzdata 2026b-1 all\n", ""))

    assert debian_packages.installed("image") == [
        debian_packages.Package("apt", "3.0.4", "amd64"),
        debian_packages.Package("tzdata", "2026b-1", "all"),
    ]
