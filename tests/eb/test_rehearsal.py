"""A rehearsal of Elastic Beanstalk: one environment, from `eb init` to failed deploys.

The tests share the environment and depend on their order.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.eb import slow_requests  # remove_demo
from tests.eb.conftest import SPECIAL_CHARACTERS
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
from tests.waiting import eventually
from tools.ebctl import bundle, prebuilt

# Exit code of `eb` after an event that reports a failure.
EB_FAILED = 4
# The API calls of `eb deploy`, without repetitions.
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
def deployed(rehearsal: Rehearsal) -> Rehearsal:
    """Create the environment with the client."""
    rehearsal.eb("init", "mysite", "--platform", BRANCH, "--region", REGION)
    variables = ",".join(f"{name}={value}" for name, value in rehearsal.properties.items())
    done = rehearsal.eb("create", ENVIRONMENT, "--timeout", "5", "--envvars", variables)
    assert done.returncode == 0, done.stdout
    return rehearsal


@contextmanager
def edited_file(path: Path, content: str | None) -> Iterator[None]:
    """Change the content of a file, or remove it, during the block."""
    before = path.read_text() if path.exists() else None
    path.write_text(content) if content is not None else path.unlink()
    try:
        yield
    finally:
        path.write_text(before) if before is not None else path.unlink()


def test_eb_init_creates_the_application(rehearsal: Rehearsal) -> None:
    with rehearsal.calls() as calls:
        done = rehearsal.eb("init", "mysite", "--platform", BRANCH, "--region", REGION)

    assert done.returncode == 0, done.stdout
    assert {"ListPlatformBranches", "CreateApplication"} <= set(calls)
    # It leaves no uncommitted files.
    assert rehearsal.git("status", "--porcelain") == ""


def test_eb_create_starts_two_instances_with_the_project_settings(deployed: Rehearsal) -> None:
    environment = deployed.environment
    options = {
        **bundled_options(environment.platform.folder / "source-1"),
        **deployed.service.options(environment),
    }

    assert LAUNCHED.format(ENVIRONMENT) in [event["Message"] for event in deployed.service.events]
    assert len(environment.platform.instances) == 2
    assert deployed.releases() == {deployed.git("rev-parse", "--short", "HEAD")}
    # The saved configuration overrides the 30 % of the client; the rest is from .ebextensions.
    assert (options[COMMAND, "BatchSize"], options[COMMAND, "BatchSizeType"]) == ("1", "Fixed")
    assert options[COMMAND, "DeploymentPolicy"] == "RollingWithAdditionalBatch"
    assert options[PROCESS, "HealthCheckPath"] == "/readyz"


def test_only_one_of_two_new_instances_migrates(deployed: Rehearsal) -> None:
    logs = [instance.application.logs() for instance in deployed.environment.platform.instances]
    applied = [re.findall(r"Applying (\S+)\.\.\. OK", log) for log in logs]

    assert sorted(map(bool, applied)) == [False, True]
    assert "ops.0001_initial" in applied[0] + applied[1]


def test_eb_status_reports_ready_and_green(deployed: Rehearsal) -> None:
    done = deployed.eb("status", ENVIRONMENT)

    assert done.returncode == 0, done.stdout
    assert "Status: Ready" in done.stdout and "Health: Green" in done.stdout


def test_log_has_the_client_address_behind_both_proxies(deployed: Rehearsal) -> None:
    """The balancer passes X-Forwarded-For of clients on, but the site does not trust it."""
    instances = deployed.environment.platform.instances
    balancer = Container(deployed.environment.platform.balancer.name)
    proxies = {balancer.address(), *(instance.nginx.address() for instance in instances)}
    deployed.get("/who-am-i", **{"X-Forwarded-For": "203.0.113.7, 10.9.8.7"})

    def client() -> str:
        logs = "".join(instance.application.logs() for instance in instances)
        match = re.search(r'"client":"([^"]+)","method":"GET","path":"/who-am-i"', logs)
        return match[1] if match else ""

    logged = eventually(client, seconds=20, what="nginx has logged the request")
    assert logged not in {"203.0.113.7", "10.9.8.7", "127.0.0.1"}
    # Not the address of a proxy either; this network has no other host.
    assert logged not in proxies


def test_too_large_body_is_refused_in_json(deployed: Rehearsal) -> None:
    answer = requests.post(
        f"http://127.0.0.1:{deployed.port}/profile/", data=b"x" * 12_000_000, timeout=30
    )

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request is too large: the limit is 10 MB."}


# remove_demo: begin
def test_eb_deploy_and_rollback_fail_no_request(deployed: Rehearsal) -> None:
    """The load has slow requests, and pages whose files belong to the other release."""
    first, label = deployed.git("rev-parse", "--short", "HEAD"), deployed.environment.version
    balancer = deployed.environment.platform.balancer
    style = deployed.tree / "ops/static/ops/status.css"
    with edited_file(style, "/* The next release. */\n" + style.read_text()):
        second = deployed.commit("the next release")
    before = count_visits(deployed, "POST")
    reader = slow_requests.BrowserVisit()
    load = deployed.load(reader, *slow_requests.slow_clients())
    with slow_requests.LockedCounter(Container(f"{NAME}-db")), load:
        load.warm_up()
        waits = len(balancer.waits)
        with deployed.calls() as calls:
            done = deployed.eb("deploy", ENVIRONMENT, "--timeout", "5")
        assert done.returncode == 0, done.stdout
        assert deployed.releases() == {second}
        rollback = deployed.eb("deploy", ENVIRONMENT, "--version", label, "--timeout", "5")
        assert rollback.returncode == 0, rollback.stdout
        assert deployed.releases() == {first}

    slow = [outcome for outcome in load.outcomes if outcome.seconds > slow_requests.SECONDS / 2]
    print(load.summary(), f"{len(slow)} slow", [f"{wait:.1f}" for wait in balancer.waits[waits:]])
    assert calls == DEPLOY_CALLS
    assert UPDATED in done.stdout
    assert not load.failed, load.summary()
    # Instances were deregistered during slow requests, and finished them.
    assert len(slow) > 10
    assert max(balancer.waits[waits:]) > slow_requests.SECONDS / 2
    # Every answered visit was counted once.
    counted = [o for o in load.outcomes if (o.request.method, o.status) == ("POST", 200)]
    assert count_visits(deployed, "GET") == before + len(counted)
    # Both stylesheets were linked and loaded.
    assert len({file for file in reader.seen if "/status." in file}) == 2
    deployed.git("reset", "--hard", "--quiet", first)


def count_visits(deployed: Rehearsal, method: str) -> int:
    """Return the number of visits; with POST, count one first."""
    address = f"http://127.0.0.1:{deployed.port}{slow_requests.HITS}"
    return int(requests.request(method, address, timeout=30).json()["hits"])


# remove_demo: end


def test_bucket_has_the_static_files_that_nginx_serves(deployed: Rehearsal) -> None:
    """All files of the manifest, and the Content-Security-Policy allows only their folder."""
    (instance, *_) = deployed.environment.platform.instances
    manifest = json.loads(instance.application.execute("cat", "/srv/static/staticfiles.json"))
    folder = deployed.properties["STATIC_URL"]
    for name in manifest["paths"].values():
        there, here = requests.get(f"{folder}{name}", timeout=10), deployed.get(f"/static/{name}")
        assert (there.status_code, there.content) == (200, here.content), name
        # A filename without an extension, such as LICENSE, ends with its hash.
        if Path(name).stem.count("."):
            assert there.headers["Cache-Control"] == here.headers["Cache-Control"], name
        kinds = [answer.headers["Content-Type"].partition(";")[0] for answer in (there, here)]
        assert kinds[0] == kinds[1] or kinds[1] == "application/octet-stream", (name, kinds)
        if name.endswith((".css", ".js")) and len(here.content) > 255:
            assert there.headers["Content-Encoding"] == "gzip", name
    policy = deployed.get("/status/").headers["Content-Security-Policy"]
    allowed = {part.split()[0] for part in policy.split(";") if folder in part.split()}
    assert allowed == {"script-src", "style-src", "img-src", "font-src"}


def test_eb_deploy_never_reduces_the_number_of_instances(deployed: Rehearsal) -> None:
    """An additional instance is registered before the others are replaced."""
    history = deployed.environment.platform.balancer.history
    count = 0
    for number, (kind, _) in enumerate(history):
        count += {"in": 1, "out": -1}[kind]
        assert count >= 2 or number < 2, history

    assert count == 2
    assert len(history) > 2


def test_eb_deploy_pulls_a_prebuilt_image_by_digest_and_keeps_the_release_on_failure(
    deployed: Rehearsal, tmp_path: Path
) -> None:
    """The pull fails, since there is no registry; the previous release continues."""
    image = f"registry.example.org/mysite@sha256:{'0123456789abcdef' * 4}"
    target = tmp_path / "bundle.zip"
    prebuilt.write(bundle.from_tree(deployed.tree), image, target)
    before = deployed.releases()
    with deployed.calls() as calls:
        done = deployed.eb(
            *("deploy", ENVIRONMENT, "--region", REGION, "--archive", str(target)),
            *("--label", "prebuilt", "--timeout", "5"),
        )

    assert done.returncode == EB_FAILED, done.stdout
    assert f"Failed to pull docker image {image}" in done.stdout
    assert {"CreateApplicationVersion", "UpdateEnvironment"} <= set(calls)
    assert deployed.releases() == before


def test_eb_setenv_passes_special_characters_and_limits_to_container_and_nginx(
    deployed: Rehearsal,
) -> None:
    values = (f"AWKWARD={SPECIAL_CHARACTERS}", "UPLOAD_MAX_MB=37")
    setenv = deployed.eb("setenv", "-e", ENVIRONMENT, *values, "--timeout", "5")
    shown = deployed.eb("printenv", ENVIRONMENT)

    assert setenv.returncode == 0, setenv.stdout
    assert shown.returncode == 0, shown.stdout
    assert f"AWKWARD = {SPECIAL_CHARACTERS}" in shown.stdout
    for instance in deployed.environment.platform.instances:
        assert instance.application.execute("printenv", "AWKWARD").strip() == SPECIAL_CHARACTERS
        url = f"http://127.0.0.1:{instance.nginx.published_port(80)}/profile/"
        small, large = (
            requests.post(url, data=bytes(size), headers={"Host": "127.0.0.1"}, timeout=30)
            for size in (38_000_000, 40_000_000)
        )
        assert small.status_code == 405
        assert large.json() == {"detail": "The request is too large: the limit is 37 MB."}


BAD_RELEASES = {
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


@pytest.mark.parametrize("fault", BAD_RELEASES)
def test_failed_eb_deploy_keeps_the_release_and_fails_no_request(
    deployed: Rehearsal, fault: str
) -> None:
    name, change, words = BAD_RELEASES[fault]
    before, version = deployed.releases(), deployed.environment.version
    path = deployed.tree / name
    text = path.read_text() if path.exists() else ""
    with edited_file(path, change(text)):
        deployed.commit(f"a release {fault}")
    # Shorter than the limit of the bundle, since none of these becomes healthy.
    deployed.environment.given[COMMAND, "Timeout"] = "200"
    load = deployed.load()
    with load:
        load.warm_up()
        done = deployed.eb("deploy", ENVIRONMENT, "--timeout", "5")
        assert deployed.releases() == before
    del deployed.environment.given[COMMAND, "Timeout"]
    deployed.git("reset", "--hard", "--quiet", "HEAD~1")

    print(load.summary())
    assert done.returncode == EB_FAILED, done.stdout
    assert words in done.stdout and FAILED in done.stdout
    assert not load.failed, load.summary()
    assert deployed.environment.version == version
    assert len(deployed.environment.platform.instances) == 2


def test_bundle_in_s3_is_below_1_mb(deployed: Rehearsal) -> None:
    answer = deployed.s3("GET", f"{BUCKET}?prefix=mysite/")
    assert answer.ok
    sizes = [int(size) for size in re.findall(r"<Size>(\d+)</Size>", answer.text)]
    assert sizes and max(sizes) < 1_000_000


def test_every_container_stops_without_being_killed(deployed: Rehearsal) -> None:
    known = deployed.environment.platform.all_instances

    assert len(known) > 2
    assert [instance.name for instance in known if instance.killed] == []
