"""A release on Elastic Beanstalk, rehearsed: one environment, from `eb init` to failed deploys.

The tests stand in the order of an environment's life and share it.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.eb.conftest import AWKWARD
from tests.eb.docker import Container
from tests.eb.fake_beanstalk import (
    BRANCH,
    BUCKET,
    FAILED,
    LAUNCHED,
    UPDATED,  # remove_demo
)
from tests.eb.fake_platform import COMMAND, PROCESS, bundled_options
from tests.eb.rehearsal import (
    ENVIRONMENT,
    NAME,  # remove_demo
    REGION,
    Rehearsal,
)
from tests.eb.slow_requests import HITS, SECONDS, LockedCounter, Reader, slow_clients  # remove_demo
from tests.waiting import eventually
from tools.ebctl import bundle, prebuilt

# `eb`'s own exit code for an event that says that it failed.
FAILURE = 4
# The calls of `eb deploy`, each once however often it is repeated.
DEPLOY_CALLS = [
    "DescribeEnvironments",
    "DescribePlatformVersion",
    "ListPlatformBranches",
    "DescribeApplicationVersions",
    "CreateStorageLocation",
    "CreateApplicationVersion",
    "UpdateEnvironment",
    "DescribeEvents",
]
BROKEN_MIGRATION = """
from django.db import migrations


def fail(apps, schema_editor):
    raise RuntimeError("this migration is broken")


class Migration(migrations.Migration):
    dependencies = [("ops", "0001_initial")]
    operations = [migrations.RunPython(fail)]
"""


@pytest.fixture(scope="module")
def created(rehearsal: Rehearsal) -> Rehearsal:
    """The environment, made by the client."""
    rehearsal.eb("init", "mysite", "--platform", BRANCH, "--region", REGION)
    variables = ",".join(f"{name}={value}" for name, value in rehearsal.properties.items())
    done = rehearsal.eb("create", ENVIRONMENT, "--timeout", "5", "--envvars", variables)
    assert done.returncode == 0, done.stdout
    return rehearsal


@contextmanager
def changed(path: Path, content: str | None) -> Iterator[None]:
    """Give a file another content, or take it away, for a block."""
    before = path.read_text() if path.exists() else None
    path.write_text(content) if content is not None else path.unlink()
    try:
        yield
    finally:
        path.write_text(before) if before is not None else path.unlink()


def test_init_makes_the_application(rehearsal: Rehearsal) -> None:
    with rehearsal.calls() as calls:
        done = rehearsal.eb("init", "mysite", "--platform", BRANCH, "--region", REGION)

    assert done.returncode == 0, done.stdout
    assert {"ListPlatformBranches", "CreateApplication"} <= set(calls)
    # Nothing that a colleague would have to commit, or wonder about.
    assert rehearsal.git("status", "--porcelain") == ""


def test_create_starts_two_instances_by_the_settings(created: Rehearsal) -> None:
    environment = created.environment
    options = {
        **bundled_options(environment.platform.folder / "source-1"),
        **created.service.options(environment),
    }

    assert LAUNCHED.format(ENVIRONMENT) in [event["Message"] for event in created.service.events]
    assert len(environment.platform.instances) == 2
    assert created.releases() == {created.git("rev-parse", "--short", "HEAD")}
    # From the saved configuration, which keeps the client from its 30 %; and from .ebextensions.
    assert (options[COMMAND, "BatchSize"], options[COMMAND, "BatchSizeType"]) == ("1", "Fixed")
    assert options[COMMAND, "DeploymentPolicy"] == "RollingWithAdditionalBatch"
    assert options[PROCESS, "HealthCheckPath"] == "/readyz"


def test_of_the_first_two_one_migrates(created: Rehearsal) -> None:
    logs = [instance.application.logs() for instance in created.environment.platform.instances]
    applied = [re.findall(r"Applying (\S+)\.\.\. OK", log) for log in logs]

    assert sorted(map(bool, applied)) == [False, True]
    assert "ops.0001_initial" in applied[0] + applied[1]


def test_status_tells(created: Rehearsal) -> None:
    done = created.eb("status", ENVIRONMENT)

    assert done.returncode == 0, done.stdout
    assert "Status: Ready" in done.stdout and "Health: Green" in done.stdout


def test_the_client_s_address_comes_through_both_proxies(created: Rehearsal) -> None:
    """What the visitor claims in the header is passed on by the balancer; nothing trusts it."""
    instances = created.environment.platform.instances
    balancer = Container(created.environment.platform.balancer.name)
    proxies = {balancer.address(), *(instance.nginx.address() for instance in instances)}
    created.get("/who-am-i", **{"X-Forwarded-For": "203.0.113.7, 10.9.8.7"})

    def client() -> str:
        logs = "".join(instance.application.logs() for instance in instances)
        found = re.search(r'"client":"([^"]+)","method":"GET","path":"/who-am-i"', logs)
        return found[1] if found else ""

    seen = eventually(client, seconds=20, what="nginx has logged the request")
    assert seen not in {"203.0.113.7", "10.9.8.7", "127.0.0.1"}
    # Neither proxy's own address either; this network has no other host.
    assert seen not in proxies


def test_a_body_that_is_too_large_is_refused_in_the_site_s_own_form(created: Rehearsal) -> None:
    answer = requests.post(
        f"http://127.0.0.1:{created.port}/profile/", data=b"x" * 12_000_000, timeout=30
    )

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request is too large: the limit is 10 MB."}


# remove_demo: begin
def test_a_deploy_and_the_way_back_lose_nothing(created: Rehearsal) -> None:
    """With requests that take seconds, and pages whose files are another release's in between."""
    first, label = created.git("rev-parse", "--short", "HEAD"), created.environment.version
    balancer = created.environment.platform.balancer
    style = created.tree / "ops/static/ops/status.css"
    with changed(style, "/* The next release. */\n" + style.read_text()):
        second = created.commit("the next release")
    before = hits(created, "POST")
    reader = Reader()
    load = created.load(reader, *slow_clients())
    with LockedCounter(Container(f"{NAME}-db")), load:
        load.warm_up()
        waits = len(balancer.waits)
        with created.calls() as calls:
            done = created.eb("deploy", ENVIRONMENT, "--timeout", "5")
        assert done.returncode == 0, done.stdout
        assert created.releases() == {second}
        back = created.eb("deploy", ENVIRONMENT, "--version", label, "--timeout", "5")
        assert back.returncode == 0, back.stdout
        assert created.releases() == {first}

    slow = [outcome for outcome in load.outcomes if outcome.seconds > SECONDS / 2]
    print(load.summary(), f"{len(slow)} slow", [f"{wait:.1f}" for wait in balancer.waits[waits:]])
    assert calls == DEPLOY_CALLS
    assert UPDATED in done.stdout
    assert not load.failed, load.summary()
    # Instances did leave with a slow request under way, which they finished.
    assert len(slow) > 10
    assert max(balancer.waits[waits:]) > SECONDS / 2
    # Every visit that was answered has been counted, once.
    counted = [o for o in load.outcomes if (o.request.method, o.status) == ("POST", 200)]
    assert hits(created, "GET") == before + len(counted)
    # The pages that were seen meanwhile had both stylesheets, and each was there.
    assert len({file for file in reader.seen if "/status." in file}) == 2
    created.git("reset", "--hard", "--quiet", first)


def hits(created: Rehearsal, method: str) -> int:
    """Return the visits so far, or with POST count one."""
    address = f"http://127.0.0.1:{created.port}{HITS}"
    return int(requests.request(method, address, timeout=30).json()["hits"])


# remove_demo: end


def test_static_files_are_in_the_bucket_as_nginx_serves_them(created: Rehearsal) -> None:
    """All that the pages' manifest names; and only the bucket's folder is allowed to pages."""
    (instance, *_) = created.environment.platform.instances
    manifest = json.loads(instance.application.execute("cat", "/srv/static/staticfiles.json"))
    folder = created.properties["STATIC_URL"]
    for name in manifest["paths"].values():
        there, here = requests.get(f"{folder}{name}", timeout=10), created.get(f"/static/{name}")
        assert (there.status_code, there.content) == (200, here.content), name
        # A name without an extension, such as a licence's, has its hash at its end.
        if Path(name).stem.count("."):
            assert there.headers["Cache-Control"] == here.headers["Cache-Control"], name
        kinds = [answer.headers["Content-Type"].partition(";")[0] for answer in (there, here)]
        assert kinds[0] == kinds[1] or kinds[1] == "application/octet-stream", (name, kinds)
        if name.endswith((".css", ".js")) and len(here.content) > 255:
            assert there.headers["Content-Encoding"] == "gzip", name
    policy = created.get("/status/").headers["Content-Security-Policy"]
    allowed = {part.split()[0] for part in policy.split(";") if folder in part.split()}
    assert allowed == {"script-src", "style-src", "img-src", "font-src"}


def test_there_are_never_fewer_instances_than_before(created: Rehearsal) -> None:
    """The additional one comes first; each of the others leaves and comes back."""
    history = created.environment.platform.balancer.history
    count = 0
    for number, (kind, _) in enumerate(history):
        count += {"in": 1, "out": -1}[kind]
        assert count >= 2 or number < 2, history

    assert count == 2
    assert len(history) > 2


def test_a_prebuilt_image_by_its_digest(created: Rehearsal, tmp_path: Path) -> None:
    """As far as the pull: there is no registry here. The old release goes on."""
    image = f"registry.example.org/mysite@sha256:{'0123456789abcdef' * 4}"
    target = tmp_path / "bundle.zip"
    prebuilt.write(bundle.from_tree(created.tree), image, target)
    before = created.releases()
    with created.calls() as calls:
        done = created.eb(
            *("deploy", ENVIRONMENT, "--region", REGION, "--archive", str(target)),
            *("--label", "prebuilt", "--timeout", "5"),
        )

    assert done.returncode == FAILURE, done.stdout
    assert f"Failed to pull docker image {image}" in done.stdout
    assert {"CreateApplicationVersion", "UpdateEnvironment"} <= set(calls)
    assert created.releases() == before


def test_awkward_values_and_limits_reach_the_container_and_nginx(created: Rehearsal) -> None:
    values = (f"AWKWARD={AWKWARD}", "UPLOAD_MAX_MB=37")
    set_ = created.eb("setenv", "-e", ENVIRONMENT, *values, "--timeout", "5")
    shown = created.eb("printenv", ENVIRONMENT)

    assert set_.returncode == 0, set_.stdout
    assert shown.returncode == 0, shown.stdout
    assert f"AWKWARD = {AWKWARD}" in shown.stdout
    for instance in created.environment.platform.instances:
        assert instance.application.execute("printenv", "AWKWARD").strip() == AWKWARD
        url = f"http://127.0.0.1:{instance.nginx.published(80)}/profile/"
        small, large = (
            requests.post(url, data=bytes(size), headers={"Host": "127.0.0.1"}, timeout=30)
            for size in (38_000_000, 40_000_000)
        )
        assert small.status_code == 405
        assert large.json() == {"detail": "The request is too large: the limit is 37 MB."}


FAULTS = {
    "without EXPOSE": (
        "Dockerfile",
        lambda text: text.replace("EXPOSE 7999\n", ""),
        "no EXPOSE directive found in Dockerfile",
    ),
    "with a failing migration": (
        "ops/migrations/9999_broken.py",
        lambda text: BROKEN_MIGRATION,
        "the migrations failed (above), so this server is not started",
    ),
    "that is not healthy": (
        "ops/middleware.py",
        lambda text: text.replace("if settings.DRAIN_FILE.exists():", "if True:"),
        "is not healthy",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_release_that_fails_changes_nothing(created: Rehearsal, fault: str) -> None:
    name, change, words = FAULTS[fault]
    before, version = created.releases(), created.environment.version
    path = created.tree / name
    text = path.read_text() if path.exists() else ""
    with changed(path, change(text)):
        created.commit(f"a release {fault}")
    # Sooner than the bundle's own limit: none of these gets healthy.
    created.environment.given[COMMAND, "Timeout"] = "200"
    load = created.load()
    with load:
        load.warm_up()
        done = created.eb("deploy", ENVIRONMENT, "--timeout", "5")
        assert created.releases() == before
    del created.environment.given[COMMAND, "Timeout"]
    created.git("reset", "--hard", "--quiet", "HEAD~1")

    print(load.summary())
    assert done.returncode == FAILURE, done.stdout
    assert words in done.stdout and FAILED in done.stdout
    assert not load.failed, load.summary()
    assert created.environment.version == version
    assert len(created.environment.platform.instances) == 2


def test_the_bundle_went_to_s3(created: Rehearsal) -> None:
    answer = created.s3("GET", f"{BUCKET}?prefix=mysite/")
    assert answer.ok
    sizes = [int(size) for size in re.findall(r"<Size>(\d+)</Size>", answer.text)]
    assert sizes and max(sizes) < 1_000_000


def test_no_container_had_to_be_killed(created: Rehearsal) -> None:
    """Each one ended by itself."""
    known = created.environment.platform.known

    assert len(known) > 2
    assert [instance.name for instance in known if instance.killed] == []
