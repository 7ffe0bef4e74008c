"""What each container may use and change, compared with the limits of its program.

Container tests fill no memory, and do not fail when a container has too many rights.
"""

import re

import pytest

from ops.environment.contract import VARIABLES
from tests.tree import ROOT
from tests.unit.config_files import (
    ALL,
    dockerfile,
    haproxy_value,
    mounts,
    seconds,
    services,
    text_of,
    uwsgi_option,
)
from tests.unit.test_consistency_compose import ONE_SHOTS, all_services, started
from tools.stackctl.docker import journal

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

MB = 2**20


def number(pattern: str, text: str) -> int:
    """Return the number that a pattern finds in a text once."""
    (result,) = re.findall(pattern, text, re.MULTILINE)
    return int(result)


def test_only_services_that_start_as_root_have_capabilities() -> None:
    added = {name: sorted(one["cap_add"]) for name, one in all_services() if "cap_add" in one}

    assert added == {
        "certbot": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        "certificates": ["CHOWN", "DAC_READ_SEARCH"],
        # MySQL; PostgreSQL starts as its own user.
        "db": ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"],
        "env-check": ["CHOWN", "DAC_OVERRIDE"],
    }
    for name, service in all_services():
        assert not {"privileged", "devices", "pid", "ipc"} & set(service), name


@pytest.mark.parametrize(
    ("volume", "writer"),
    [("acme", "certbot"), ("certificates", "certificates"), ("static", "migrate")],
)
def test_servers_cannot_change_the_files_that_others_serve(volume: str, writer: str) -> None:
    mounts = [
        (name, mount.get("read_only", False))
        for name, service in all_services()
        for mount in service.get("volumes", ())
        if mount["source"] == volume
    ]

    assert {name for name, read_only in mounts if not read_only} == {writer}
    assert {name for name, read_only in mounts if read_only}


def test_containers_cannot_change_the_project_folder() -> None:
    written = {
        mount["source"].removeprefix(f"{ROOT}/")
        for _, service in all_services()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind" and not mount.get("read_only")
    }

    assert written == {"certs/letsencrypt"}


def test_health_checks_detect_a_fault_within_90_seconds_and_forgive_one_failure() -> None:
    (text,) = [text for name, text in dockerfile("Dockerfile.base") if name == "HEALTHCHECK"]
    image = {name.replace("-", "_"): value for name, value in re.findall(r"--([\w-]+)=(\S+)", text)}

    for name, service in all_services():
        check = service.get("healthcheck", image)
        if check.get("disable"):
            continue
        interval, retries = seconds(check["interval"]), int(check["retries"])
        assert seconds(check["timeout"]) <= interval, name
        assert retries > 1 and retries * interval <= 90, name
        # Time for a start on a slow machine, and quick checks on a fast one.
        assert seconds(check["start_period"]) >= 30, name
        assert seconds(check["start_interval"]) <= 1, name


def test_programs_have_smaller_memory_limits_than_their_containers() -> None:
    brokers = {name: services(BROKER=name)["broker"] for name in ("rabbitmq", "kafka")}
    # Twice as much while it rewrites its log.
    redis = 2 * number(r"^maxmemory (\d+)mb$", text_of("redis/redis.conf"))
    rabbitmq = number(r"absolute = (\d+)MiB$", text_of("variants/rabbitmq/rabbitmq.conf"))
    kafka = number(r"-Xmx(\d+)m", brokers["kafka"]["environment"]["KAFKA_HEAP_OPTS"])

    assert redis * MB < int(services()["redis"]["mem_limit"])
    assert 2 * rabbitmq * MB < int(brokers["rabbitmq"]["mem_limit"])
    assert 2 * kafka * MB < int(brokers["kafka"]["mem_limit"])


def test_uwsgi_recycles_a_leaking_worker_before_its_container_is_full() -> None:
    server = services()["server1"]
    workers = int(VARIABLES["WEB_CONCURRENCY"].default) * int(uwsgi_option("reload-on-rss"))
    files = sum(number(r"size=(\d+)m", mount) for mount in server["tmpfs"])

    assert (workers + files) * MB < int(server["mem_limit"])


@pytest.mark.parametrize(
    ("engine", "file"),
    [
        ("mysql", "mysql/conf.d/mysite.cnf"),
        ("postgres", "variants/postgres/postgresql.conf"),
    ],
)
def test_databases_may_start_a_process_for_every_connection(engine: str, file: str) -> None:
    connections = number(r"^max_connections = (\d+)$", text_of(file))

    # Plus threads of the server itself.
    assert services(DB_ENGINE=engine)["db"]["pids_limit"] >= connections + 100


def test_haproxy_has_room_for_both_passes_of_every_request() -> None:
    """Otherwise requests of the first pass use all connections, and the second has none."""
    total = int(haproxy_value("global", "maxconn"))

    assert total >= 2 * int(haproxy_value("frontend site", "maxconn"))
    # Two descriptors each; some machines allow 20,000.
    assert 2 * total < 20_000


def test_every_service_has_memory_and_process_limits() -> None:
    for name, service in all_services():
        assert {"mem_limit", "pids_limit"} <= set(service), name


def test_services_that_need_an_init_run_under_one() -> None:
    """They inherit the children of a killed health check or worker process, or end with 2."""
    with_init = {name for name, service in all_services() if service.get("init")}

    exporters = {"node-exporter", "redis-exporter", "db-exporter"}
    assert with_init == {"db", "redis", "broker", "worker", *exporters}


def test_every_service_has_a_health_check_or_disables_it() -> None:
    image = [
        text for instruction, text in dockerfile("Dockerfile.base") if instruction == "HEALTHCHECK"
    ]

    assert len(image) == 1
    for name, service in all_services():
        # Servers use the health check of the image.
        own = service.get("healthcheck", {"test": image[0]} if name.startswith("server") else {})
        assert own.get("disable") is (True if name in ONE_SHOTS else None), name
        assert "test" in own or own.get("disable"), name


def test_servers_and_worker_share_the_files_of_users() -> None:
    """A task reads what a request has written, and the other way round."""
    for name, service in all_services():
        if name == "worker" or name.startswith("server"):
            shared = mounts(service)
            assert (shared["/srv/media"], shared["/srv/private"]) == ("media", "private"), name


def test_folders_in_memory_have_room_and_sockets_in_them_are_private() -> None:
    """Their files count towards mem_limit."""
    folders = [
        (name, folder, dict(option.split("=") for option in options.split(",")))
        for name, service in all_services()
        for folder, _, options in (mount.partition(":") for mount in service.get("tmpfs", ()))
        if options
    ]

    assert {"worker", "haproxy", "db", "broker"} <= {name for name, _, _ in folders}
    for name, folder, options in folders:
        megabytes = number(r"^(\d+)m$", options["size"])
        is_shared = folder.endswith("/tmp")
        # The application may have a whole upload there.
        assert (100 if is_shared and name in ("worker", "server1") else 1) <= megabytes <= 256
        assert options["mode"][-1] == "0" or (is_shared and options["mode"] == "1777"), name


def test_every_service_log_has_a_size_limit() -> None:
    for name, service in all_services():
        options = service["logging"]["options"]
        megabytes = int(options["max-size"].removesuffix("m")) * int(options["max-file"])
        assert 0 < megabytes <= 50, name


def test_every_service_logs_to_the_journal_with_the_labels_that_stackctl_searches() -> None:
    for name, service in started(**ALL, LOG_DRIVER="journald").items():
        labels = service["logging"]["options"]["labels"].split(",")
        assert service["logging"]["driver"] == journal.DRIVER, name
        fields = [label.upper().replace(".", "_") for label in labels]
        assert fields == [journal.PROJECT, journal.SERVICE], name


def test_every_long_running_service_is_restarted_unless_stopped() -> None:
    for name, service in all_services():
        expected = None if name in ONE_SHOTS else "unless-stopped"
        assert service.get("restart") == expected, name


def test_every_container_drops_capabilities_and_gains_no_privileges() -> None:
    written = set()
    for name, service in all_services():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if not service.get("read_only"):
            written.add(service["image"].partition(":")[0])
    # Their start scripts change their own files.
    assert written == {"mysql", "apache/kafka"}


def test_long_running_services_have_30_seconds_to_stop() -> None:
    for name, service in all_services():
        if name not in ONE_SHOTS:
            assert seconds(service["stop_grace_period"]) >= 30, name
