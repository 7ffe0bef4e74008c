"""All that is wrong is told at once, with its cure, and no secret with it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from ops import environment
from ops.environment.check import ALL_SCOPES, PUBLISHED, warnings
from ops.environment.contract import SAMPLE_PASSWORD, SAMPLE_SECRET_KEY, VARIABLES
from ops.environment.dotenv import parse
from ops.environment.loader import layer_of
from ops.environment.variable import Scope
from tools.stackctl.checks.preflight import PORT_NAMES

KEY = "k3y-" + "abcdefghij" * 6
GOOD = {
    "DJANGO_SECRET_KEY": KEY,
    "DJANGO_ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "mysql://web:pa55word@db/site",
    "REDIS_URL": "redis://:pa55word@redis:6379",
    "STATS_PASSWORD": "an0ther-secret",
}


def names(
    environ: dict[str, str], layer: str = "production", scopes: Iterable[str] = ALL_SCOPES
) -> list[str]:
    """Return the names of the variables at fault."""
    found = environment.faults(environ, layer, scopes)
    assert all(fault.problem and isinstance(fault.cure, str) for fault in found)
    return [fault.name for fault in found]


@pytest.mark.parametrize("layer", ["dev", "production"])
def test_a_good_environment_has_no_fault(layer: str) -> None:
    """The other tests change one thing in it."""
    assert names(GOOD, layer) == []


@pytest.mark.parametrize(
    ("change", "layer", "warned"),
    [
        ({}, "production", True),
        ({"DJANGO_SECURE_SSL_REDIRECT": "true"}, "dev", True),
        ({"DJANGO_SECURE_SSL_REDIRECT": "false"}, "production", False),
        ({"TLS_CERTIFICATE": "certs/localhost"}, "production", False),
        ({}, "dev", False),
        ({}, "local", False),
    ],
)
def test_a_redirect_to_https_where_nothing_answers_is_warned_of(
    change: dict[str, str], layer: str, warned: bool
) -> None:
    found = warnings({**GOOD, **change}, layer)

    assert [fault.name for fault in found] == ["DJANGO_SECURE_SSL_REDIRECT"] * warned
    assert all("TLS_CERTIFICATE" in fault.cure and "=false" in fault.cure for fault in found)


# remove_demo: begin
@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({}, 0),
        ({"WORKER_CONCURRENCY": "3"}, 2672),
        ({"WORKER_CONCURRENCY": "3", "APP_MEMORY": "3g"}, 0),
        ({"WORKER_CONCURRENCY": "3", "APP_MEMORY": "2671m"}, 2672),
        ({"WORKER_CONCURRENCY": "3", "APP_MEMORY": "2672m"}, 0),
        ({"UPLOAD_MAX_MEGAPIXELS": "50"}, 2163),
    ],
)
def test_tasks_that_need_more_memory_than_the_worker_has_are_warned_of(
    change: dict[str, str], needed: int
) -> None:
    found = warnings({**GOOD, **change, "DJANGO_SECURE_SSL_REDIRECT": "false"}, "production")

    assert [fault.name for fault in found] == ["WORKER_CONCURRENCY"] * bool(needed)
    assert all(f"{needed} MB at once" in fault.problem for fault in found)
    assert all(f"APP_MEMORY={needed + 256}m" in fault.cure for fault in found)


# remove_demo: end


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
    assert all(fault.cure for fault in faults)
    assert "DJANGO_SECRET_KEY_FILE" in faults[0].cure
    assert "./manage.py env init" in faults[0].cure


def test_an_empty_value_is_not_set() -> None:
    """Docker compose passes on an empty text for what it was not given."""
    assert names({**GOOD, "DJANGO_SECRET_KEY": ""}) == ["DJANGO_SECRET_KEY"]
    assert names({**GOOD, "WEB_CONCURRENCY": "", "DJANGO_DEBUG": ""}) == []


@pytest.mark.parametrize("nothing", [" ", ",", " , "])
@pytest.mark.parametrize("name", ["DJANGO_ALLOWED_HOSTS", "STATS_PASSWORD"])
def test_neither_is_one_of_spaces_and_commas(name: str, nothing: str) -> None:
    """A list of nothing, or a password that nobody meant."""
    assert names({**GOOD, name: nothing}) == [name]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_SECONDS": "31536000"}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_INCLUDE_SUBDOMAINS": "yes"}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_SECONDS": "63072000", "DJANGO_HSTS_INCLUDE_SUBDOMAINS": "yes"}, []),
    ],
)
def test_preload_needs_a_year_and_all_subdomains(
    changes: dict[str, str], expected: list[str]
) -> None:
    assert names({**GOOD, "DJANGO_HSTS_PRELOAD": "true", **changes}) == expected


GROUP = {**GOOD, "DATABASE_URL": "", "DB_ENGINE": "mysql", "DB_NAME": "site", "DB_PASSWORD": "x"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (GROUP, ["DB_USER", "DB_HOST"]),
        ({**GROUP, "DB_PASSWORD": SAMPLE_PASSWORD}, ["DB_PASSWORD", "DB_USER", "DB_HOST"]),
        ({**GROUP, "DB_USER": "'web'"}, ["DB_USER", "DB_HOST"]),
        ({**GROUP, "DB_CONN_MAX_AGE": "x"}, ["DB_CONN_MAX_AGE", "DB_USER", "DB_HOST"]),
        ({**GROUP, "DB_ENGINE": "mysqll"}, ["DB_ENGINE"]),
        ({**GROUP, "DB_ENGINE": "", "DATABASE_URL_FILE": "/nowhere"}, ["DATABASE_URL_FILE"]),
        ({**GROUP, "DB_ENGINE": "", "RDS_HOSTNAME": "'h'"}, ["RDS_HOSTNAME"]),
        (
            {**GOOD, "DATABASE_URL": f"mysql://u:{SAMPLE_PASSWORD}@h"},
            ["DATABASE_URL", "DATABASE_URL"],
        ),
    ],
)
def test_what_is_wrong_with_the_database_is_told_once_and_whole(
    environ: dict[str, str], expected: list[str]
) -> None:
    """A fault neither hides another nor comes again as what follows from it."""
    assert names(environ) == expected


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


STATIC = {
    **GOOD,
    "AWS_STATIC_BUCKET_NAME": "mysite-static",
    "STATIC_URL": "https://mysite-static.s3.eu-central-1.amazonaws.com/static/",
}


@pytest.mark.parametrize(
    ("changes", "layer", "expected"),
    [
        ({}, "production", None),
        ({}, "staging", None),
        ({"DJANGO_DEBUG": "false"}, "dev", None),
        ({"STATIC_URL": ""}, "production", "STATIC_URL: it is not set"),
        ({"AWS_STATIC_BUCKET_NAME": ""}, "production", "AWS_STATIC_BUCKET_NAME: it is not set"),
        # Names without a hash.
        ({}, "local", "AWS_STATIC_BUCKET_NAME: names have a hash in"),
        ({}, "dev", "AWS_STATIC_BUCKET_NAME: names have a hash in"),
        # One fault, and nothing that follows from it.
        ({"STATIC_URL": "https://a.example/static"}, "production", "STATIC_URL: 'https:"),
        ({"STATIC_URL": "/static/"}, "production", "STATIC_URL: '/static/' is not"),
        ({"STATIC_URL": "https://*.example/"}, "production", "STATIC_URL: 'https:"),
        ({"STATIC_URL": "https://a.example/;x/"}, "production", "STATIC_URL: 'https:"),
        ({"STATIC_URL": "https://a.example/?x=/"}, "production", "STATIC_URL: 'https:"),
        ({"AWS_STATIC_BUCKET_NAME": "s3://b"}, "production", "AWS_STATIC_BUCKET_NAME: 's3:"),
        ({"STATIC_URL": "http://a.example/"}, "production", "STATIC_URL: it begins with http:"),
        (
            {"STATIC_URL": "http://a.example:9000/", "DJANGO_SECURE_SSL_REDIRECT": "false"},
            "production",
            None,
        ),
    ],
)
def test_a_bucket_for_static_files_and_its_address_belong_together(
    changes: dict[str, str], layer: str, expected: str | None
) -> None:
    """Each half alone would be pages whose files are not where they say."""
    layer = layer if layer != "staging" else layer_of("mysite.settings.staging")
    found = [str(fault) for fault in environment.faults({**STATIC, **changes}, layer)]

    assert len(found) == (expected is not None), found
    assert all(fault.startswith(expected or "") for fault in found), found


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
def test_a_weak_key_is_a_fault_in_production(key: str, weak: bool) -> None:
    """By the measure of Django's own check."""
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
def test_the_local_layers_samples_are_refused_elsewhere(name: str, sample: str, layer: str) -> None:
    """They are public; in the local layer they are fine."""
    faults = environment.faults({**GOOD, name: sample}, layer)
    assert name in [fault.name for fault in faults]
    assert "still the local layer's sample" in str(faults[0])
    assert sample not in "".join(map(str, faults))
    assert names({**GOOD, name: sample}, "local") == []


@pytest.mark.parametrize("layer", ["local", "dev", "production"])
def test_no_message_has_a_secrets_value_in_it(layer: str) -> None:
    """Whatever is wrong with it."""
    hidden = "hidden"
    secrets = {name: f"{hidden} {name}" for name, variable in VARIABLES.items() if variable.secret}
    many = {**secrets, "DB_ENGINE": "mysql", "DJANGO_SECRET_KEY_FILE": "/nowhere"}
    near = {"DJANGO_SECRETKEY": hidden, "STATS_PASWORD": hidden, "DATABSE_URL": hidden}
    for environ in (secrets, many, near, {**secrets, "DB_ENGINE": hidden[:0]}):
        text = "".join(map(str, environment.faults(environ, layer)))
        assert hidden not in text
    assert environment.faults(many, layer)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_ULR", "DATABASE_URL"),
        ("DJANGO_SECRETKEY", "DJANGO_SECRET_KEY"),
        ("DJANGO_SECRET_KEY_FIEL", "DJANGO_SECRET_KEY_FILE"),
        ("DJANGO_ALOWED_HOSTS", "DJANGO_ALLOWED_HOSTS"),
        ("DJANGO_ALLOWED_HOST", "DJANGO_ALLOWED_HOSTS"),
        ("django_allowed_hosts", "DJANGO_ALLOWED_HOSTS"),
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("RDS_HOSTNAM", "RDS_HOSTNAME"),
        ("REDIS_HOTS", "REDIS_HOST"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("REDIS_PASSWORD_FILEE", "REDIS_PASSWORD_FILE"),
        ("REDIS_ULR", "REDIS_URL"),
        ("AWS_STORAGE_BUCKTE_NAME", "AWS_STORAGE_BUCKET_NAME"),
        ("AWS_STATIC_BUCKET_NAMES", "AWS_STATIC_BUCKET_NAME"),
        ("AWS_S3_ENDPOINT_URI", "AWS_S3_ENDPOINT_URL"),
        ("AWS_S3_REGIONNAME", "AWS_S3_REGION_NAME"),
        ("AWS_ACCES_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESSKEY", "AWS_SECRET_ACCESS_KEY"),
        ("CELERY_BROKER_UR", "CELERY_BROKER_URL"),
        ("BROKER_HOSTT", "BROKER_HOST"),
        ("SENTRY_DNS", "SENTRY_DSN"),
        ("UPLOAD_MAX_MBS", "UPLOAD_MAX_MB"),
        ("THROTTLE_ANNON", "THROTTLE_ANON"),
    ],
)
def test_a_misspelt_name_is_a_fault_that_says_what_is_meant(name: str, meant: str) -> None:
    """Unless what it resembles is set."""
    for dotenv in (None, parse(f"{name}=x")):
        faults = environment.faults({name: "x"}, "local", dotenv=dotenv)
        assert [fault.name for fault in faults] == [name]
        assert faults[0].cure == f"Did you mean {meant}?"
    assert name not in names({name: "x", meant.removesuffix("_FILE"): "x"}, "local")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SECRET_KEY", "DJANGO_SECRET_KEY"),
        ("ALLOWED_HOSTS", "DJANGO_ALLOWED_HOSTS"),
        ("DEBUG", "DJANGO_DEBUG"),
        ("PORT", "DB_PORT"),
        ("LAYR", "LAYER"),
        ("DB_PASS", "DB_PASSWORD"),
        ("DB_USERNAME", "DB_USER"),
        ("REDIS_HOSTNAME", "REDIS_HOST"),
        ("REDIS_PORT", "REDIS_URL"),
        ("REDIS_DB", "REDIS_URL"),
        ("AWS_S3_REGION", "AWS_S3_REGION_NAME"),
        ("AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_BUCKET", "AWS_STORAGE_BUCKET_NAME"),
    ],
)
def test_in_dotenv_a_looser_resemblance_counts(name: str, meant: str) -> None:
    """Everything there is meant for this project; the process's environment is everyone's."""
    faults = environment.faults({name: "x"}, "local", dotenv=parse(f"{name}=x"))
    assert [(fault.name, fault.cure) for fault in faults] == [(name, f"Did you mean {meant}?")]
    assert names({name: "x"}, "local") == []


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "HOSTNAME", "PWD", "PLAYER", "LAYERS", "PROFILES", "PYTHONPATH", "TZ",
        "LANG", "PORT", "DEBUG", "USER", "MAIL", "SHELL", "TERM", "DB_PORT_3306_TCP",
        "DB_PORT_3306_TCP_ADDR", "WEB_CONCURRENCY_MAX", "RDS_PORT_OLD", "KUBERNETES_PORT",
        "AWS_REGION", "MYSQL_PASSWORD", "COMPOSE_PROFILES", "REDIS_HOSTNAME", "REDIS_PORT",
        "DOCKER_HOST", "HTTP_PROXY", "HTTPS_PROXY", "STATIC_DIR", "MEDIA_URL", "RELEASE_NAME",
        "GITHUB_TOKEN",
    ],
)  # fmt: skip
def test_other_programs_variables_are_left_alone(name: str) -> None:
    """A server must start beside them."""
    assert names({name: "x"}, "local") == []


@pytest.mark.parametrize("name", ["DB_PASSWORD", "REDIS_PASSWORD"])
def test_a_secret_in_a_file_counts_for_the_whole_stack(tmp_path: Path, name: str) -> None:
    """Compose's own default, the sample, is not a second value."""
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
def test_the_stack_s_check_leaves_another_user_s_file_to_env_check(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It reads the file as root. The application itself has to read it."""

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    given = {**GOOD, f"{name}_FILE": "/etc/mysite/secret", name: ""}

    assert names(given) == []
    own = environment.faults(given, "production", {VARIABLES[name].scope} - {Scope.STACK})
    in_django = VARIABLES[name].scope is Scope.DJANGO
    assert [fault.name for fault in own] == [f"{name}_FILE"] * in_django


def test_a_file_for_what_is_no_secret_is_a_fault() -> None:
    """It would be ignored silently."""
    [fault] = environment.faults({"DB_HOST_FILE": "/x"}, "local")
    assert fault.name == "DB_HOST_FILE"
    assert fault.cure == "Set DB_HOST."
    assert names({"DRAIN_FILE": "/x"}, "local") == []


@pytest.mark.parametrize("count", ["", "3"])
def test_a_name_that_had_a_meaning_is_refused_with_its_successor(count: str) -> None:
    """Also where Compose has given the successor its default."""
    (fault,) = environment.faults({"SERVER3": "1", "SERVER_COUNT": count}, "local")

    assert fault.name == "SERVER3" and "set SERVER_COUNT" in fault.cure
    assert names({"SERVER3": ""}, "local") == []


def test_two_published_ports_must_differ() -> None:
    """Also when one is a default."""
    assert names({"HTTP_PORT": "9000", "STATS_PORT": "9000"}, "local") == ["STATS_PORT"]
    assert names({"HTTP_PORT": "8888"}, "local") == ["STATS_PORT"]
    assert names({"HTTP_PORT": "9000"}, "local") == []


@pytest.mark.parametrize(
    ("port", "switch"),
    [
        ("HTTPS_PORT", {"TLS_CERTIFICATE": "certs/localhost"}),
        ("NGINX_PORT", {"APACHE": "1"}),
        ("APACHE_PORT", {"APACHE": "1"}),
    ],
)
def test_a_port_must_differ_where_it_is_in_use(port: str, switch: dict[str, str]) -> None:
    assert names({port: "8080"}, "local") == []
    assert names({port: "8080", **switch}, "local") == [port]
    assert names({port: "8888", **switch}, "local") == [port]
    assert names({"HTTP_PORT": VARIABLES[port].default, **switch}, "local") == [port]
    assert names(switch, "local") == []


def test_each_port_that_another_one_has_is_told() -> None:
    same = {"HTTP_PORT": "9000", "NGINX_PORT": "9000", "APACHE_PORT": "9000", "APACHE": "1"}

    found = environment.faults(same, "local")

    assert [fault.name for fault in found] == ["NGINX_PORT", "APACHE_PORT"]
    assert found[0].problem == "it is 9000, and so is HTTP_PORT"
    # A number that is none is one fault, not two.
    assert names({**same, "HTTP_PORT": "http"}, "local") == ["HTTP_PORT", "APACHE_PORT"]


def test_every_port_that_is_published_is_compared() -> None:
    assert {*PUBLISHED, "NGINX_BALANCER_PORT"} == set(PORT_NAMES.values())


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
