"""The check of the environment: values that conflict."""

import pytest

from ops import environment
from ops.environment.check import warnings
from ops.environment.contract import SAMPLE_PASSWORD
from ops.environment.loader import layer_of
from tests.unit.environments import GOOD, GROUP, names


@pytest.mark.parametrize(
    ("change", "layer", "warned"),
    [
        ({}, "production", True),
        ({"DJANGO_SECURE_SSL_REDIRECT": "true"}, "dev", True),
        ({"DJANGO_SECURE_SSL_REDIRECT": "false"}, "production", False),
        ({"TLS_CERTIFICATE": "certs/localhost"}, "production", False),
        ({"TRUSTED_PROXIES": "10.0.0.1"}, "production", False),
        ({}, "dev", False),
        ({}, "local", False),
    ],
)
def test_https_redirect_without_a_certificate_is_a_warning(
    change: dict[str, str], layer: str, warned: bool
) -> None:
    result = warnings({**GOOD, **change}, layer)

    assert [fault.name for fault in result] == ["DJANGO_SECURE_SSL_REDIRECT"] * warned
    assert all("TLS_CERTIFICATE" in fault.hint and "=false" in fault.hint for fault in result)


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
def test_tasks_that_need_more_memory_than_app_memory_are_a_warning(
    change: dict[str, str], needed: int
) -> None:
    result = warnings({**GOOD, **change, "DJANGO_SECURE_SSL_REDIRECT": "false"}, "production")

    assert [fault.name for fault in result] == ["WORKER_CONCURRENCY"] * bool(needed)
    assert all(f"{needed} MB at once" in fault.problem for fault in result)
    assert all(f"APP_MEMORY={needed + 256}m" in fault.hint for fault in result)


# remove_demo: end


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_SECONDS": "31536000"}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_INCLUDE_SUBDOMAINS": "yes"}, ["DJANGO_HSTS_PRELOAD"]),
        ({"DJANGO_HSTS_SECONDS": "63072000", "DJANGO_HSTS_INCLUDE_SUBDOMAINS": "yes"}, []),
    ],
)
def test_hsts_preload_needs_one_year_and_all_subdomains(
    changes: dict[str, str], expected: list[str]
) -> None:
    assert names({**GOOD, "DJANGO_HSTS_PRELOAD": "true", **changes}) == expected


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
def test_each_fault_of_the_database_variables_is_reported_once(
    environ: dict[str, str], expected: list[str]
) -> None:
    """A fault hides no other fault, and causes none."""
    assert names(environ) == expected


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
        # These layers use filenames without a hash.
        ({}, "local", "AWS_STATIC_BUCKET_NAME: only dev and production"),
        ({}, "dev", "AWS_STATIC_BUCKET_NAME: only dev and production"),
        # One fault, without consequential ones.
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
def test_static_bucket_and_static_url_must_be_set_together(
    changes: dict[str, str], layer: str, expected: str | None
) -> None:
    """With only one of them, pages would link to missing files."""
    layer = layer if layer != "staging" else layer_of("mysite.settings.staging")
    result = [str(fault) for fault in environment.faults({**STATIC, **changes}, layer)]

    assert len(result) == (expected is not None), result
    assert all(fault.startswith(expected or "") for fault in result), result


@pytest.mark.parametrize(
    ("environ", "at_fault"),
    [
        ({"PROXY_PROTOCOL": "1"}, ["PROXY_PROTOCOL"]),
        ({"PROXY_PROTOCOL": "1", "TRUSTED_PROXIES": " , "}, ["PROXY_PROTOCOL"]),
        ({"PROXY_PROTOCOL": "1", "TRUSTED_PROXIES": "10.0.0.1"}, []),
        ({"PROXY_PROTOCOL": "1", "TRUSTED_PROXIES": "x"}, ["TRUSTED_PROXIES"]),
        ({"PROXY_PROTOCOL": "0"}, []),
    ],
)
def test_proxy_protocol_requires_trusted_proxies(
    environ: dict[str, str], at_fault: list[str]
) -> None:
    assert names(environ, "local") == at_fault
