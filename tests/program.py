"""A command of stackctl, run in the test's own process."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tools.stackctl import cli


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """Return the JSON output."""
        results: dict[str, Any] = json.loads(self.out)
        return results


def run_stackctl(capfd: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Run a command, and return what it and its programs printed."""
    capfd.readouterr()
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return Ended(code, *capfd.readouterr())
