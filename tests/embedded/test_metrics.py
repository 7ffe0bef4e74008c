"""/metrics of a uWSGI with several workers: exact counts, and only on its own port."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from ops.environment.contract import VARIABLES
from ops.metrics import PORT, uwsgi
from tests.ports import free_port
from tests.tree import ROOT
from tests.waiting import eventually

# The port is fixed. On Linux, a random loopback address lets two test runs coexist.
HOST = (
    ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
    if sys.platform == "linux"
    else "127.0.0.1"
)
METRICS_ADDRESS = f"{HOST}:{PORT}"
WORKERS = 4
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Site:
    """A uWSGI that serves this tree as the servers do, but without nginx."""

    def __init__(self, folder: Path) -> None:
        """Start uWSGI."""
        self.port = free_port()
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("uwsgi"),
                    *("--ini", ROOT / "uwsgi" / "common.ini"),
                    *("--module", "ops.wsgi_http:direct"),
                    *("--http-socket", f"127.0.0.1:{self.port}"),
                    *("--http-socket", METRICS_ADDRESS),
                    *("--processes", str(WORKERS)),
                    *("--stats", folder / "stats.sock"),
                    *("--master-fifo", folder / "fifo"),
                    *("--binary-path", sys.executable),
                ],
                env={
                    **inherited,
                    "DJANGO_READ_DOTENV": "false",
                    "DJANGO_SETTINGS_MODULE": "mysite.settings.local",
                    "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
                    "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.fifo = folder / "fifo"

    def get(self, path: str, **options: object) -> requests.Response:
        """Send a GET request to the site."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10, **options)  # type: ignore[arg-type]

    def metrics(self) -> Samples:
        """Scrape the metrics."""
        answer = requests.get(f"http://{METRICS_ADDRESS}/metrics", timeout=10)
        answer.raise_for_status()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def count(self, path: str = "/profile/", number: int = 100) -> set[int]:
        """Send this many requests in parallel, and return the statuses."""
        with ThreadPoolExecutor(8) as clients:
            return {answer.status_code for answer in clients.map(self.get, [path] * number)}

    def worker(self) -> int:
        """Return the process id of the first worker."""
        stats = uwsgi.ask(str(self.fifo.with_name("stats.sock")))
        return int(stats["workers"][0]["pid"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Share one uWSGI between all tests of this module."""
    site = Site(tmp_path_factory.mktemp("metrics"))
    try:
        eventually(lambda: site.get("/readyz").ok, seconds=60, what="uWSGI answers")
        yield site
    finally:
        site.process.send_signal(signal.SIGINT)
        site.process.wait(30)


def sample_value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0)


def profile_requests(samples: Samples, status: str = "200") -> float:
    return sample_value(
        samples, "django_http_requests_total", view="profile", method="GET", status=status
    )


def test_metrics_count_each_request_once_over_all_workers(site: Site) -> None:
    before = profile_requests(site.metrics())

    assert site.count(number=400) == {200}

    after = site.metrics()
    assert profile_requests(after) - before == 400
    answered = [
        sample_value(after, "uwsgi_worker_requests_total", worker=str(number + 1))
        for number in range(WORKERS)
    ]
    assert sum(count > 0 for count in answered) > 1
    labels = {"view": "profile", "method": "GET"}
    assert sample_value(
        after, "django_http_request_duration_seconds_count", **labels
    ) == profile_requests(after)
    slowest = sample_value(
        after, "django_http_request_duration_seconds_bucket", le="+Inf", **labels
    )
    assert slowest == profile_requests(after)


def test_metrics_keep_the_counts_of_a_killed_worker(site: Site) -> None:
    site.count()
    before = site.metrics()
    killed = site.worker()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: site.worker() != killed, seconds=15, what="a new worker runs")

    site.count()

    after = site.metrics()
    assert profile_requests(after) - profile_requests(before) == 100
    spawns = [
        sample_value(scraped, "uwsgi_worker_spawns_total", worker="1")
        for scraped in (before, after)
    ]
    assert spawns[1] > spawns[0]


def test_metrics_keep_counts_and_files_across_a_reload(site: Site) -> None:
    folder = site.fifo.parent / "metrics"
    site.count()
    before, files = profile_requests(site.metrics()), {path.name for path in folder.iterdir()}
    started = site.worker()
    with site.fifo.open("w") as fifo:
        fifo.write("r")
    eventually(lambda: site.worker() != started, seconds=30, what="uWSGI has reloaded")
    eventually(lambda: site.get("/readyz").ok, seconds=30, what="uWSGI answers")

    site.count()

    assert profile_requests(site.metrics()) - before == 100
    # Files are named by worker number, not by process, so their count does not grow.
    assert {path.name for path in folder.iterdir()} <= files | {
        f"{kind}_{number}.db" for kind in ("counter", "histogram") for number in range(WORKERS + 1)
    }


def test_metrics_do_not_count_probes_and_scrapes(site: Site) -> None:
    before = site.metrics()
    for path in ("/livez", "/readyz"):
        site.get(path)
    after = site.metrics()

    counter = "django_http_requests_total"
    assert {key: number for key, number in after.items() if key[0] == counter} == {
        key: number for key, number in before.items() if key[0] == counter
    }


def test_metrics_have_no_labels_made_up_by_clients(site: Site) -> None:
    for number in range(20):
        site.get(f"/made-up-{number}/")
        requests.request(f"ODD{number}", f"http://127.0.0.1:{site.port}/profile/", timeout=10)

    samples = site.metrics()
    names = {dict(labels).get("view") for name, labels in samples if "http_requests" in name}
    methods = {dict(labels).get("method") for name, labels in samples if "http_requests" in name}
    assert "none" in names and not any("made-up" in str(name) for name in names)
    assert methods <= {"GET", "POST", "other", None}
    assert (
        sample_value(samples, "django_http_requests_total", view="none", method="GET", status="404")
        >= 20
    )


def test_metrics_report_the_uwsgi_workers(site: Site) -> None:
    samples = site.metrics()

    states = {
        state: sample_value(samples, "uwsgi_workers", state=state)
        for state in ("busy", "idle", "other")
    }
    assert sum(states.values()) == WORKERS
    # The worker that answers the scrape does not count itself.
    assert states["idle"] >= 1
    assert sample_value(samples, "uwsgi_worker_harakiri_total", worker="1") == 0
    assert ("uwsgi_worker_resident_memory_bytes", (("worker", "1"),)) in samples


def test_metrics_report_the_release(site: Site) -> None:
    labels = [dict(labels) for name, labels in site.metrics() if name == "mysite_info"]

    assert [label["release"] for label in labels] == ["unreleased"]


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/./metrics", "/metrics?x=/metrics"],
)
def test_site_port_serves_no_metrics(site: Site, path: str) -> None:
    for headers in ({}, {"X-Forwarded-Port": str(PORT), "Host": f"localhost:{PORT}"}):
        request = requests.Request("GET", "http://127.0.0.1", headers=headers).prepare()
        request.url = f"http://127.0.0.1:{site.port}{path}"
        answer = requests.Session().send(request, timeout=10)

        assert answer.status_code == 404
        assert "django_http" not in answer.text


def test_metrics_refuse_post_requests(site: Site) -> None:
    assert requests.post(f"http://{METRICS_ADDRESS}/metrics", timeout=10).status_code == 405
