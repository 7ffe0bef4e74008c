"""Large response headers, such as many cookies or a long policy: every proxy forwards them."""

import pytest

from tests.stack.bench import Bench

# Their number, and the length of each.
HEADERS = [(12, 1000), (1, 12_000)]
# GETs pass the relays of nginx-balancer, POSTs do not.
CASES = [
    *(("haproxy", "GET"), ("haproxy", "POST"), ("apache", "GET"), ("nginx", "GET")),
    *(("nginx-balancer", "GET"), ("nginx-balancer", "POST")),
]


@pytest.mark.parametrize(("count", "length"), HEADERS)
@pytest.mark.parametrize(("proxy", "method"), CASES)
def test_proxies_forward_12_kb_of_response_headers(
    bench: Bench, proxy: str, method: str, count: int, length: int
) -> None:
    """Default limits are 4 KB in nginx, and 8 KB for one header in Apache; above them is a 502."""
    # HAProxy balances between three servers, one of them Apache.
    for _ in range(3):
        answer = bench.request(method, proxy, f"/headers/{count}/{length}")

        assert answer.status_code == 200
        forwarded = [value for name, value in answer.headers.items() if "X-Long" in name.title()]
        assert list(map(len, forwarded)) == [length] * count
