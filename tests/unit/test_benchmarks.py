"""How the benchmarks parse the output of other programs, and calculate their figures."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.cost import parse_cpu, parse_mib
from benchmarks.deploy import Deploy, figures, parse_steps
from benchmarks.load import Load, parse_wrk
from benchmarks.report import deploy_lines, ratio
from benchmarks.rounds import Options, Sample, Samples
from benchmarks.stops import stop_seconds
from benchmarks.targets import RATIOS, TARGETS
from benchmarks.visitors import VisitorAnswer

WRK = """\
Running 6s test @ http://127.0.0.1:8080/profile/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.01ms    4.92ms  61.02ms   88.01%
    Req/Sec     1.84k   120.11     2.07k    71.67%
  Latency Distribution
     50%  980.00us
     75%   10.50ms
     90%   14.10ms
     99%    1.50s
  11012 requests in 6.01s, 3.53MB read
Requests/sec:   1833.51
Transfer/sec:    601.12KB
"""


def test_wrk_report_is_parsed() -> None:
    assert parse_wrk(WRK) == Load(
        requests=11012,
        per_second=1833.51,
        median_ms=0.98,
        p99_ms=1500.0,
        bad_status=0,
        socket_errors=0,
    )


def test_wrk_errors_are_counted() -> None:
    load = parse_wrk(
        f"{WRK}  Socket errors: connect 1, read 20, write 0, timeout 3\n"
        "  Non-2xx or 3xx responses: 7\n"
    )

    assert (load.socket_errors, load.bad_status, load.errors) == (24, 7, 31)


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:8080 Connection refused\n"])
def test_text_without_a_wrk_report_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="wrk's report has no"):
        parse_wrk(text)


def test_cpu_time_is_parsed_for_cgroup_v1_and_v2() -> None:
    assert parse_cpu("usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n") == 1234567
    assert parse_cpu("1234567000\n") == 1234567


@pytest.mark.parametrize(
    ("size", "mib"), [("512B", 2**-11), ("64KiB", 0.0625), ("101.5MiB", 101.5), ("1.5GiB", 1536)]
)
def test_memory_size_is_parsed_in_each_unit(size: str, mib: float) -> None:
    assert parse_mib(size) == mib


@pytest.mark.parametrize("size", ["", "12", "--"])
def test_malformed_memory_size_is_an_error(size: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_mib(size)


def test_ratio_is_the_median_over_all_rounds() -> None:
    # In one round each, one of the two was disturbed.
    assert ratio([100.0, 50.0, 90.0], [50.0, 50.0, 10.0]) == 2.0
    assert ratio([1.0], [0.0]) == 0.0


def one_round(**rates: float) -> Samples:
    """Return a round in which every target served 100 requests a second, or its own number."""
    return {
        target.key: [Sample(Load(100, rates.get(target.key, 100.0), 1, 1, 0, 0), {"server": 1})]
        for target in TARGETS
    }


def test_performance_page_has_the_median_and_spread_of_each_ratio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    rounds = [one_round(a=70), one_round(a=80, f=30), one_round(a=50, p=200)]
    samples = {key: [one[key][0] for one in rounds] for key in rounds[0]}
    facts = {"date": "today", "cores": 2, "memory_gib": 4, "engine": "1", "busy_before": 0.25}

    page.write_page(facts, Options(seconds=6, rounds=3, connections=16), samples)

    text = page.PAGE.read_text()
    assert (
        "| the whole stack (a) to plain Django on uWSGI (p) | 0.70 (0.25-0.80) | 1.00 (1.00-1.00) |"
        in text
    )
    assert "| static files through HAProxy (f) to nginx alone (g) | 1.00 (0.30-1.00) |" in text
    assert "25% busy" in text and "3 rounds of 6 s" in text
    titles = set(re.findall(r"\((\w)\)", "".join(words for words, _, _ in RATIOS)))
    assert titles == {target.key for target in TARGETS}


LOG = """\
2030-01-01T00:00:00Z building r2 ...
2030-01-01T00:00:09Z building r2 (9.0 s)
2030-01-01T00:00:09Z server1: draining ...
2030-01-01T00:00:10Z server1: draining (1.2 s)
2030-01-01T00:00:10Z warning: server1: draining (maybe)
2030-01-01T00:00:14Z server1: starting r2 (4.0 s)
2030-01-01T00:00:15Z server2: draining (0.8 s)
"""


def test_deploy_log_is_parsed_into_steps_with_seconds() -> None:
    assert parse_steps(LOG) == [
        ("building r2", 9.0),
        ("server1: draining", 1.2),
        ("server1: starting r2", 4.0),
        ("server2: draining", 0.8),
    ]


def test_deploy_figures_count_only_requests_during_the_deploy() -> None:
    outcomes = [
        VisitorAnswer(started=1, seconds=0.25, good=False),
        VisitorAnswer(started=5, seconds=0.5, good=True),
        VisitorAnswer(started=6, seconds=0.75, good=False),
    ]

    deploy = figures(outcomes, begun=5, log=LOG, seconds=22.0, stop_seconds=3.0)

    assert deploy == Deploy(
        seconds=22.0,
        drain_seconds=2.0,
        stop_seconds=3.0,
        requests=2,
        failed=1,
        longest_ms=750,
        longest_before_ms=250,
    )


@pytest.mark.parametrize(("seconds", "word"), [(25.0, "20.0 s, met."), (25.5, "20.5 s, NOT met.")])
def test_deploy_time_target_excludes_drains(seconds: float, word: str) -> None:
    deploy = Deploy(seconds, 2.0, 3.0, 100, 0, 80, 70)

    assert deploy_lines(deploy)[-1].endswith(word)


def event(action: str, container: str, seconds: float) -> str:
    """Return a line of the engine's events."""
    return json.dumps({"Action": action, "Actor": {"ID": container}, "timeNano": seconds * 1e9})


def test_container_stop_is_timed_from_first_signal_to_exit() -> None:
    lines = [
        event("kill", "server1", 1.0),
        event("die", "one-off", 2.0),
        event("kill", "server1", 3.0),
        event("kill", "worker", 4.0),
        event("die", "server1", 4.5),
        event("die", "worker", 6.0),
    ]

    assert stop_seconds(lines) == [3.5, 2.0]
