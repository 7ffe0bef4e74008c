"""The environment's check: it names all faults at once, each with its remedy."""

import pytest

from ops import environment
from ops.environment.dotenv import parse
from ops.environment.variable import Scope
from tests.unit.environments import GOOD, names


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_a_good_environment_has_no_fault(layer: str) -> None:
    """The other tests change one thing in it."""
    assert names(GOOD, layer) == []


@pytest.mark.parametrize("layer", ["local", "test"])
def test_an_empty_environment_is_good_on_a_laptop_and_in_tests(layer: str) -> None:
    """A fresh clone runs."""
    assert names({}, layer) == []


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_everything_that_is_missing_is_named_at_once(layer: str) -> None:
    """Each with what to do."""
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


def test_an_empty_value_is_not_set() -> None:
    """Docker compose passes on an empty text for what it was not given."""
    assert names({**GOOD, "DJANGO_SECRET_KEY": ""}) == ["DJANGO_SECRET_KEY"]
    assert names({**GOOD, "WEB_CONCURRENCY": "", "DJANGO_DEBUG": ""}) == []


@pytest.mark.parametrize("nothing", [" ", ",", " , "])
@pytest.mark.parametrize("name", ["DJANGO_ALLOWED_HOSTS", "STATS_PASSWORD"])
def test_neither_is_one_of_spaces_and_commas(name: str, nothing: str) -> None:
    """A list of nothing, or a password set by mistake."""
    assert names({**GOOD, name: nothing}) == [name]


def test_faults_of_every_kind_come_together() -> None:
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
def test_a_scope_is_checked_alone(scope: Scope, expected: list[str]) -> None:
    """The application's servers are not given the stack's variables."""
    assert names({}, "production", {scope}) == expected


def test_debug_is_a_fault_in_production_alone() -> None:
    """A shared development server may have it."""
    assert names({**GOOD, "DJANGO_DEBUG": "true"}, "production") == ["DJANGO_DEBUG"]
    assert names({**GOOD, "DJANGO_DEBUG": "true"}, "dev") == []
    assert names({**GOOD, "DJANGO_DEBUG": "false"}, "production") == []


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_building_needs_no_secret_host_or_database(layer: str) -> None:
    """What is set must still be right."""
    assert names({"DJANGO_BUILD": "1"}, layer) == []
    assert names({"DJANGO_BUILD": "0"}, layer) != []
    assert names({"DJANGO_BUILD": "1", "DJANGO_LOG_LEVEL": "loud"}, layer) == ["DJANGO_LOG_LEVEL"]
    assert "DJANGO_BUILD" in names({"DJANGO_BUILD": "perhaps"}, layer)


def test_building_cannot_be_switched_on_in_dotenv() -> None:
    """It would take the secrets from every server that reads the file."""
    dotenv = parse("DJANGO_BUILD=1\n")
    faults = environment.faults({"DJANGO_BUILD": "1"}, "local", dotenv=dotenv)
    assert [fault.name for fault in faults] == ["DJANGO_BUILD"]
    assert ".env" in faults[0].problem


def test_dotenvs_own_faults_are_among_them() -> None:
    """With the line, and together with the rest."""
    faults = environment.faults({"DJANGO_DEBUG": "ture"}, "local", dotenv=parse("A=b c"))
    assert [fault.name for fault in faults] == [".env line 1", "DJANGO_DEBUG"]
