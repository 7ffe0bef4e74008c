"""`./ebctl lint` finds each seeded fault, and nothing in the files of the project."""

from functools import cache
from typing import Any

import pytest

from tests.tree import ROOT
from tests.unit.ebctl_faults import FAULTS
from tests.unit.ebctl_faults.bundles import property_
from tests.unit.ebctl_faults.settings import COMMAND
from tools.ebctl.lint import findings_in, findings_of, saved
from tools.ebctl.lint.finding import Finding
from tools.ebctl.lint.known import namespaces

# In one process, so that each faulty file is checked once for all tests.
pytestmark = pytest.mark.xdist_group("faults")


@cache
def findings_in_fault(fault: str) -> list[Finding]:
    """Return the findings for a seeded fault."""
    return list(findings_of(FAULTS[fault][0]))


def test_lint_finds_nothing_in_the_project() -> None:
    assert findings_in(ROOT) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_finds_the_fault(fault: str) -> None:
    _, rule, line, words = FAULTS[fault]
    result = findings_in_fault(fault)
    fitting = [item for item in result if item.rule == rule and item.line == line]

    assert fitting, result
    assert any(words in str(item) for item in fitting), result


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_finds_nothing_but_the_fault(fault: str) -> None:
    """A fault gives one finding, or several of one rule."""
    assert {item.rule for item in findings_in_fault(fault)} == {FAULTS[fault][1]}


def test_lint_finding_does_not_repeat_a_secret() -> None:
    for line in ("DJANGO_SECRET_KEY: s3cr3t", "BROKER: redis://:s3cr3t@cache:6379/0"):
        (finding,) = findings_of(property_(line))
        assert finding.rule == "secret" and "s3cr3t" not in str(finding)


def test_lint_finding_is_one_line() -> None:
    for fault in FAULTS:
        for finding in findings_in_fault(fault):
            assert str(finding).count("\n") == 0


def test_lint_checks_the_saved_configuration(tmp_path: Any) -> None:
    folder = tmp_path / ".elasticbeanstalk"
    folder.mkdir()
    target = folder / "default.cfg.yml"
    target.write_text(f'OptionSettings:\n  {COMMAND}:\n    BatchSize: "0"\n')

    (result,) = saved.check(tmp_path)
    assert (result.rule, result.line) == ("value", 3)
    # In a saved configuration, an option that the client would override is valid.
    target.write_text(f'OptionSettings:\n  {COMMAND}:\n    BatchSize: "1"\n')
    assert list(saved.check(tmp_path)) == []


def test_lint_finding_is_printed_with_file_and_line() -> None:
    assert str(Finding("a.config", 3, "wrong", "value")) == "a.config:3: wrong [value]"
    assert str(Finding("a.config", 0, "wrong", "value")) == "a.config: wrong [value]"


def test_every_option_in_the_table_has_a_valid_pattern_and_range() -> None:
    """Every pattern compiles, and no range is empty."""
    for options in namespaces().values():
        for described in (options or {}).values():
            described.problem("1")
            assert not described.range or described.range[0] < described.range[1]
