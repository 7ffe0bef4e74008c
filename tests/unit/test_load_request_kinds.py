"""The longest requests of a load, for each kind of request."""

from itertools import repeat

import pytest

from tests.chaos.load import Client, Load, Outcome, Request
from tests.chaos.release import longest_by_kind, request_kind

PAGE = Request("GET", "/profile/")
SLOW = Request("GET", "/loadtest/slow/2000")
WRITE = Request("POST", "/loadtest/order/0d7e", 201)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (PAGE, "profile"),
        (SLOW, "slow"),
        (WRITE, "write"),
        (Request("GET", "/static/a.css"), "static"),
    ],
)
def test_request_kind_is_derived_from_method_and_path(request_: Request, name: str) -> None:
    assert request_kind(request_) == name


def test_longest_request_of_each_kind_counts_only_requests_begun_in_the_period() -> None:
    client = Client(repeat(PAGE))
    client.outcomes = [
        Outcome(PAGE, 1.0, 0.9, 200),
        Outcome(SLOW, 2.0, 2.1, 200),
        Outcome(PAGE, 2.0, 0.2, 200),
        Outcome(PAGE, 3.0, 0.3, 200),
        Outcome(SLOW, 4.0, 3.0, 200),
    ]
    load = Load(1, [client])

    assert longest_by_kind(load, 2, 4) == {"slow": 2.1, "profile": 0.3}
    assert longest_by_kind(load, 4) == {"slow": 3.0}
