"""The check of the environment reports all faults at once, each with its fix."""

import pytest

from ops import environment
from ops.environment.dotenv import parse
from ops.environment.variable import Scope
from tests.unit.environments import GOOD, names


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_valid_environment_has_no_fault(layer: str) -> None:
    assert names(GOOD, layer) == []


@pytest.mark.parametrize("layer", ["local", "test"])
def test_empty_environment_is_valid_in_the_local_and_test_layers(layer: str) -> None:
    assert names({}, layer) == []


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_all_missing_variables_are_reported_at_once(layer: str) -> None:
    faults = environment.faults({}, layer)
    assert [fault.name for fault in faults] == [
        "DJANGO_SECRET_KEY",
        "DJANGO_ALLOWED_HOSTS",
        "STATS_PASSWORD",
        "DATABASE_URL",
        "REDIS_URL",
    ]
    assert all(fault.hint for fault in faults)
    assert "DJANGO_SECRET_KEY_FILE" in faults[0].hint
    assert "./manage.py env init" in faults[0].hint


def test_empty_value_counts_as_not_set() -> None:
    """Docker compose passes on a variable that is not set as an empty value."""
    assert names({**GOOD, "DJANGO_SECRET_KEY": ""}) == ["DJANGO_SECRET_KEY"]
    assert names({**GOOD, "WEB_CONCURRENCY": "", "DJANGO_DEBUG": ""}) == []


@pytest.mark.parametrize("nothing", [" ", ",", " , "])
@pytest.mark.parametrize("name", ["DJANGO_ALLOWED_HOSTS", "STATS_PASSWORD"])
def test_value_of_spaces_and_commas_counts_as_not_set(name: str, nothing: str) -> None:
    assert names({**GOOD, name: nothing}) == [name]


def test_faults_of_every_kind_are_reported_together() -> None:
    """A bad value does not hide a missing one, a misspelt name or a weak key."""
    environ = {
        **GOOD,
        "DJANGO_SECRET_KEY": "short",
        "DJANGO_ALLOWED_HOSTS": "",
        "WEB_CONCURENCY": "4",
        "DJANGO_LOG_LEVEL": "loud",
        "DATABASE_URL": "mysql://web:pa55word@db",
        "HTTP_PORT": "http",
    }
    assert set(names(environ)) == {
        "DJANGO_SECRET_KEY",
        "DJANGO_ALLOWED_HOSTS",
        "WEB_CONCURENCY",
        "DJANGO_LOG_LEVEL",
        "DATABASE_URL",
        "HTTP_PORT",
    }


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope.DJANGO, ["DJANGO_SECRET_KEY", "DJANGO_ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL"]),
        (Scope.STACK, ["STATS_PASSWORD"]),
    ],
)
def test_check_of_a_scope_reports_only_its_variables(scope: Scope, expected: list[str]) -> None:
    """The servers of the application do not receive the stack's variables."""
    assert names({}, "production", {scope}) == expected


def test_debug_is_a_fault_only_in_production() -> None:
    """A shared development server may have it."""
    assert names({**GOOD, "DJANGO_DEBUG": "true"}, "production") == ["DJANGO_DEBUG"]
    assert names({**GOOD, "DJANGO_DEBUG": "true"}, "dev") == []
    assert names({**GOOD, "DJANGO_DEBUG": "false"}, "production") == []


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_build_needs_no_secret_host_or_database(layer: str) -> None:
    """Variables that are set must still be valid."""
    assert names({"DJANGO_BUILD": "1"}, layer) == []
    assert names({"DJANGO_BUILD": "0"}, layer) != []
    assert names({"DJANGO_BUILD": "1", "DJANGO_LOG_LEVEL": "loud"}, layer) == ["DJANGO_LOG_LEVEL"]
    assert "DJANGO_BUILD" in names({"DJANGO_BUILD": "perhaps"}, layer)


def test_django_build_in_dotenv_is_a_fault() -> None:
    """Every server that reads the file would run without secrets."""
    dotenv = parse("DJANGO_BUILD=1\n")
    faults = environment.faults({"DJANGO_BUILD": "1"}, "local", dotenv=dotenv)
    assert [fault.name for fault in faults] == ["DJANGO_BUILD"]
    assert ".env" in faults[0].problem


def test_variable_with_an_ambiguous_dotenv_line_is_not_reported_as_missing() -> None:
    dotenv = parse("DJANGO_SECRET_KEY=abc$1\n")
    faults = environment.faults({}, "production", dotenv=dotenv)
    problems = [fault.problem for fault in faults if "DJANGO_SECRET_KEY" in str(fault)]
    assert len(problems) == 1 and "read differently" in problems[0]


def test_faults_of_dotenv_are_reported_with_the_line() -> None:
    faults = environment.faults({"DJANGO_DEBUG": "ture"}, "local", dotenv=parse("A=b c"))
    assert [fault.name for fault in faults] == [".env line 1", "DJANGO_DEBUG"]
