"""SLOW_PATHS is checked at start: the paths, and what their workers need of other variables."""

import pytest

from ops import environment
from tests.unit.environments import GOOD, names

SLOW = {**GOOD, "SLOW_PATHS": "/reports/,/api/exports/"}


def test_slow_paths_need_no_other_variable() -> None:
    assert names(SLOW) == []


@pytest.mark.parametrize(
    "path",
    [
        *("reports/", "/reports", "/", "//reports/", "/re ports/", "/reports/*", "/a;b/", "/%2e/"),
        *("/../a/", "/./", "/static/reports/", "/media/", "/readyz/", "/metrics/"),
    ],
)
def test_what_is_no_beginning_of_a_page_is_refused(path: str) -> None:
    (fault,) = environment.faults({**GOOD, "SLOW_PATHS": f"/reports/,{path}"}, "production")

    assert fault.name == "SLOW_PATHS" and repr(path) in fault.problem and fault.hint


@pytest.mark.parametrize(
    ("changed", "name", "problem"),
    [
        (
            {"SLOW_REQUEST_SECONDS": "30", "REQUEST_SECONDS": "40"},
            "SLOW_REQUEST_SECONDS",
            "it is 30, less than REQUEST_SECONDS, which is 40",
        ),
        (
            {"SLOW_CONCURRENCY": "40", "WEB_CONCURRENCY": "30"},
            "SLOW_CONCURRENCY",
            "40 and WEB_CONCURRENCY (30) are more than 64 workers",
        ),
        # remove_nginx-balancer: begin
        (
            {"NGINX_BALANCER": "1"},
            "NGINX_BALANCER",
            "that balancer has one time limit for all pages",
        ),
        # remove_nginx-balancer: end
    ],
)
def test_slow_paths_refuse_what_does_not_fit(
    changed: dict[str, str], name: str, problem: str
) -> None:
    (fault,) = environment.faults({**SLOW, **changed}, "production")

    assert fault.name == name and problem in fault.problem and fault.hint
    assert names({**GOOD, **changed}) == []
