"""The check of the environment: misspelt names, names of other programs, and former names."""

import pytest

from ops import environment
from ops.environment.dotenv import parse
from tests.unit.environments import names


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
def test_misspelt_name_is_a_fault_that_suggests_the_variable(name: str, meant: str) -> None:
    """Unless the suggested variable is set."""
    for dotenv in (None, parse(f"{name}=x")):
        faults = environment.faults({name: "x"}, "local", dotenv=dotenv)
        assert [fault.name for fault in faults] == [name]
        assert faults[0].hint == f"Did you mean {meant}?"
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
def test_misspelt_names_in_dotenv_are_matched_more_loosely(name: str, meant: str) -> None:
    """Every name in it is for this project; the process has names of other programs too."""
    faults = environment.faults({name: "x"}, "local", dotenv=parse(f"{name}=x"))
    assert [(fault.name, fault.hint) for fault in faults] == [(name, f"Did you mean {meant}?")]
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
def test_variables_of_other_programs_are_ignored(name: str) -> None:
    assert names({name: "x"}, "local") == []


@pytest.mark.parametrize("count", ["", "3"])
def test_former_variable_is_refused_with_its_successor(count: str) -> None:
    """Also where compose has set the default of the successor."""
    (fault,) = environment.faults({"SERVER3": "1", "SERVER_COUNT": count}, "local")

    assert fault.name == "SERVER3" and "set SERVER_COUNT" in fault.hint
    assert names({"SERVER3": ""}, "local") == []
