"""`make bench`: the servers that it adds start, answer and are measured."""

import pytest

from benchmarks import rounds, stack
from benchmarks.report import json_report, text_report
from benchmarks.rounds import Options, measure
from benchmarks.targets import SERVICES, TARGETS

# One of each kind: the whole stack, its uWSGI alone, plain Django, a static file. Other packages'
# servers would be built for a minute.
KEYS = "acpf"
FACTS = {
    "date": "today",
    "cores": 2,
    "memory_gib": 4,
    "kernel": "1",
    "engine": "1",
    "busy_before": 0.1,
}


@pytest.mark.usefixtures("production_image")
def test_bench_measures_servers_and_reports_their_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [target for target in TARGETS if target.key in KEYS]
    services = sorted({service for target in targets for service in target.serving})
    monkeypatch.setattr(rounds, "TARGETS", targets)
    monkeypatch.setattr(rounds, "WARM_UP_SECONDS", 1)
    monkeypatch.setattr(stack, "SERVICES", services)
    monkeypatch.setattr(stack, "BUILT_SERVICES", ("env-check", "load"))
    options = Options(seconds=1, rounds=1, connections=4)
    said: list[str] = []

    with stack.running_stack() as running:
        samples = measure(running, options, said.append)

    assert len(said) == 1 + len(targets)
    for key, (sample,) in samples.items():
        assert sample.load.requests > 10 and sample.load.errors == 0, (key, sample)
        assert sample.cpu_us_per_request > 0
    others = {target.key: samples["c"] for target in TARGETS if target.key not in samples}
    everything = samples | others
    memory = dict.fromkeys(SERVICES, 1.0)
    text = text_report(FACTS, {}, options, everything, memory, None)
    figures = json_report(FACTS, {}, options, everything, memory, None)
    assert "the whole stack (a) to plain Django on uWSGI (p)" in text
    assert figures["errors"] == 0
