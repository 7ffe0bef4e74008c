"""The check of the environment: weak keys, samples, secret files, no secret in a message."""

from pathlib import Path

import pytest

from ops import environment
from ops.environment.contract import SAMPLE_PASSWORD, SAMPLE_SECRET_KEY, VARIABLES
from ops.environment.variable import Scope
from tests.unit.environments import GOOD, GROUP, KEY, names


@pytest.mark.parametrize(
    ("key", "weak"),
    [
        ("a1B2" * 12 + "x", True),  # 49 characters
        ("a1B2" * 12 + "xy", False),
        ("ab" * 40, True),
        ("django-insecure-" + KEY, True),
        (KEY, False),
    ],
)
def test_weak_secret_key_is_a_fault_in_production(key: str, weak: bool) -> None:
    """By the criteria of Django's check."""
    assert names({**GOOD, "DJANGO_SECRET_KEY": key}) == ["DJANGO_SECRET_KEY"] * weak
    assert names({**GOOD, "DJANGO_SECRET_KEY": key}, "dev") == []


@pytest.mark.parametrize("layer", ["dev", "production"])
@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("DJANGO_SECRET_KEY", SAMPLE_SECRET_KEY),
        ("STATS_PASSWORD", SAMPLE_PASSWORD),
        ("DB_PASSWORD", SAMPLE_PASSWORD),
        ("RDS_PASSWORD", SAMPLE_PASSWORD),
        ("DATABASE_URL", f"mysql://web:{SAMPLE_PASSWORD}@db/site"),
        ("REDIS_URL", f"redis://:{SAMPLE_PASSWORD}@redis:6379/0"),
        ("DATABASE_URL", f"mysql://web:{SAMPLE_PASSWORD.replace('-', '%2D')}@db/site"),
    ],
)
def test_sample_secrets_are_refused_outside_the_local_layer(
    name: str, sample: str, layer: str
) -> None:
    """They are public."""
    faults = environment.faults({**GOOD, name: sample}, layer)
    assert name in [fault.name for fault in faults]
    assert "the local layer's public sample" in str(faults[0])
    assert sample not in "".join(map(str, faults))
    assert names({**GOOD, name: sample}, "local") == []


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_fault_messages_never_show_a_secret(layer: str) -> None:
    hidden = "hidden"
    secrets = {name: f"{hidden} {name}" for name, variable in VARIABLES.items() if variable.secret}
    many = {**secrets, "DB_ENGINE": "mysql", "DJANGO_SECRET_KEY_FILE": "/nowhere"}
    near = {"DJANGO_SECRETKEY": hidden, "STATS_PASWORD": hidden, "DATABSE_URL": hidden}
    for environ in (secrets, many, near, {**secrets, "DB_ENGINE": hidden[:0]}):
        text = "".join(map(str, environment.faults(environ, layer)))
        assert hidden not in text
    assert environment.faults(many, layer)


@pytest.mark.parametrize("name", ["DB_PASSWORD", "REDIS_PASSWORD"])
def test_secret_file_overrides_the_sample_of_compose(tmp_path: Path, name: str) -> None:
    """The sample that compose passes is no second value."""
    path = tmp_path / "secret"
    path.write_text("x" * 60)
    stack = {**GROUP, "DB_USER": "u", "DB_HOST": "db", "REDIS_URL": "", "REDIS_HOST": "redis"}
    stack |= {"REDIS_PASSWORD": "x", name: SAMPLE_PASSWORD, f"{name}_FILE": str(path)}

    assert names(stack) == names({**stack, name: ""}) == []
    assert names({**stack, name: "another"}) == [f"{name}_FILE"]
    for content in ("", "\n"):
        path.write_text(content)
        assert names(stack) == [f"{name}_FILE"]
    path.unlink()
    assert names(stack) == [f"{name}_FILE"]


@pytest.mark.parametrize("name", sorted(n for n, v in VARIABLES.items() if v.secret))
def test_stack_check_ignores_secret_files_that_only_root_can_read(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """env-check reads them as root. The application itself must be able to read them."""

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    given = {**GOOD, f"{name}_FILE": "/etc/mysite/secret", name: ""}

    assert names(given) == []
    own = environment.faults(given, "production", {VARIABLES[name].scope} - {Scope.STACK})
    in_django = VARIABLES[name].scope is Scope.DJANGO
    assert [fault.name for fault in own] == [f"{name}_FILE"] * in_django


def test_file_variable_of_a_non_secret_is_a_fault() -> None:
    """It would be ignored silently."""
    [fault] = environment.faults({"DB_HOST_FILE": "/x"}, "local")
    assert fault.name == "DB_HOST_FILE"
    assert fault.hint == "Set DB_HOST."
    assert names({"DRAIN_FILE": "/x"}, "local") == []
