"""Commands of the docs for a running site, as they are written there."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.stack.compose import docker
from tests.stack.stackctl.site import ANY, PROJECT, Site
from tests.waiting import eventually

# Commands that only read, with a text that they print.
READING = {
    "docker compose logs db": "ready for connections",
    "docker compose logs worker": "worker",
    "docker compose logs server1": "spawned",
    "docker compose logs haproxy": "The site: http",
    "docker compose logs env-check": "env-check",
    "docker compose ps": "haproxy",
    "docker compose ps db": "healthy",
    "docker compose version": "Docker Compose version",
    "docker volume ls": f"{PROJECT}_media",
    "./stackctl releases": "ok",
}
TEMPORARY = "GRANT CREATE TEMPORARY TABLES ON mysite.* TO mysite"
FORMER_RIGHTS = "GRANT ALL ON mysite.* TO mysite"
# What needs the rights that these give, and for the last line those of a test database.
WITH_RIGHTS = """
CREATE TEMPORARY TABLE mysite.drill_temporary (i int);
CREATE DATABASE test_mysite; DROP DATABASE test_mysite;
CREATE TABLE mysite.drill (i int); DROP TABLE mysite.drill;
"""
WITHOUT_RIGHTS = r"""
REVOKE ALL ON `test\_mysite%`.* FROM mysite;
REVOKE ALL ON mysite.* FROM mysite;
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON mysite.* TO mysite;
"""


@pytest.mark.parametrize("command", READING)
def test_reading_command_prints_what_it_is_for(site: Site, command: str) -> None:
    assert READING[command] in site.run_documented(command)


def test_logs_of_one_request_are_found_by_its_id_and_by_its_time(site: Site) -> None:
    identity = site.get("/notes/").headers["X-Request-ID"]

    def lines(name: str) -> str:
        output = site.run_documented(f"./stackctl logs --request {name}", {name: identity})
        return output if '"server":"nginx"' in output else ""

    for name in ("REQUEST_ID", "ID", "6246be24"):
        output = eventually(
            lambda name=name: lines(name),  # type: ignore[misc]
            seconds=20,
            what="all logs have it",
        )
        assert '"server":"haproxy"' in output
    now = datetime.now(UTC)
    since, until = (f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (-5, 5))
    output = site.run_documented(
        "docker compose logs --since 2030-01-01T12:00:00Z --until 2030-01-01T12:10:00Z haproxy"
        " | grep notes",
        {"2030-01-01T12:00:00Z": since, "2030-01-01T12:10:00Z": until},
    )
    assert identity in output


def test_inspected_networks_and_containers_have_the_facts_of_the_docs(site: Site) -> None:
    template = "'{{range .IPAM.Config}}{{.Gateway}} {{.Subnet}}{{end}}'"
    gateway, subnet = site.run_documented(
        f"docker network inspect mysite-production_front --format {template}",
        {"mysite-production": PROJECT},
    ).split()
    assert gateway.split(".")[:2] == subnet.split(".")[:2]
    killed = site.run_documented(
        "docker inspect --format '{{.State.OOMKilled}}' CONTAINER",
        {"CONTAINER": site.container("worker")},
    )
    assert killed == "false\n"


def test_metrics_are_read_inside_the_network_that_prometheus_joins(site: Site) -> None:
    request = 'c = C("server1", 9145); c.request("GET", "/metrics")'
    metrics = site.run_documented(
        "docker compose exec server2 python -c 'from http.client import HTTPConnection as C;"
        f" {request}; print(c.getresponse().read().decode())'"
    )
    assert "django_http_requests_total" in metrics

    name = f"{PROJECT}-prometheus"
    docker("create", "--name", name, site.image)
    try:
        site.run_documented(
            "docker network connect mysite-production_front prometheus",
            {"mysite-production": PROJECT, "prometheus": name},
        )
        networks = docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name)
        assert f"{PROJECT}_front" in json.loads(networks)
    finally:
        docker("rm", "--force", name)


def test_shells_of_django_and_of_the_database_run_what_is_typed(site: Site, tmp_path: Path) -> None:
    assert "answer 42" in site.run_documented("./stackctl shell", typed="print('answer', 6 * 7)")
    whoami = "SELECT CURRENT_USER();\n"
    assert "mysite@%" in site.run_documented("./stackctl dbshell", typed=whoami)
    assert "stackctl@" in site.run_documented("./stackctl dbshell --admin", typed=whoami)
    report = tmp_path / "report.sql"
    report.write_text(whoami)
    command = "./stackctl dbshell <report.sql"
    assert "mysite@%" in site.run_documented(command, {"report.sql": str(report)})


def test_grants_give_the_rights_that_the_docs_name(site: Site) -> None:
    site.run_documented(f"./stackctl dbshell --admin <<<'{TEMPORARY}'")
    site.run_documented(
        "docker compose exec db mysql --user=stackctl"
        r" --execute='GRANT ALL ON `test\_mysite%`.* TO mysite'"
    )
    try:
        site.run_documented(f"./stackctl dbshell --admin <<<'{FORMER_RIGHTS}'")
        site.run_documented("./stackctl dbshell", typed=WITH_RIGHTS)
    finally:
        site.run_documented("./stackctl dbshell --admin", typed=WITHOUT_RIGHTS)


def test_only_the_container_migrate_changes_tables(site: Site) -> None:
    back = "docker compose run --rm migrate python manage.py migrate shop 0003"
    said = site.run_documented(back, {"shop 0003": "admin zero"})
    assert "Unapplying admin.0001_initial" in said
    refused = site.run_documented("docker compose exec server1 ./manage.py migrate", code=1)
    assert "CREATE command denied to user 'mysite'" in refused
    assert "Applying admin.0001_initial" in site.run_documented("docker compose run --rm migrate")


def test_data_are_dumped_and_loaded_by_django(site: Site) -> None:
    check_data_of_django(site)


def check_data_of_django(site: Site) -> None:
    """Move all rows as docs/update.md and docs/adopt.md do, also on PostgreSQL."""
    file = site.tree / "backups/data.json"
    site.run_documented("install -m 600 /dev/null backups/data.json")
    site.run_documented(
        "docker compose run --rm -T --no-deps server1 python manage.py dumpdata --natural-foreign"
        " --exclude contenttypes --exclude auth.permission >backups/data.json"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    rows = json.loads(file.read_text())
    assert {row["model"] for row in rows} >= {"ops.workerbeat"}
    loaded = site.run_documented(
        "docker compose run --rm -T --no-deps migrate python manage.py loaddata --format json -"
        " <backups/data.json"
    )
    installed = f"Installed {len(rows)} object(s) from 1 fixture(s)"
    assert installed in loaded
    command = "docker compose exec -T server1 ./manage.py loaddata --format json -"
    loaded = site.run_documented(f"{command} <backups/dump.json", {"dump": "data"})
    assert installed in loaded
    site.run_documented("rm backups/data.json")
    assert not file.exists()


def test_data_of_an_adopted_project_are_loaded_into_the_stack(site: Site) -> None:
    dump = site.tree / "backups/dump.sql"
    dump.write_text("CREATE TABLE drill_loaded (i int); INSERT INTO drill_loaded VALUES (7);\n")
    load = "docker compose exec -T db mysql --user=stackctl bakery_stack <backups/dump.sql"
    site.run_documented(load, {"bakery_stack": "mysite"})
    rows = "SELECT CONCAT('row ', i) FROM mysite.drill_loaded; DROP TABLE mysite.drill_loaded;"
    assert "row 7" in site.run_documented("./stackctl dbshell --admin", typed=rows)
    dump.unlink()

    media = site.tree / "backups/drill-media"
    media.mkdir()
    (media / "drill.txt").write_text("of before")
    site.run_documented(
        "tar --directory ../media --create . | docker compose exec -T server1"
        " tar --directory /srv/media --extract",
        {"../media": str(media)},
    )
    assert site.get("/media/drill.txt").text == "of before"
    site.run_in("server1", "rm", "/srv/media/drill.txt")


def running(site: Site) -> set[str]:
    """Return the running containers of a site."""
    label = f"label=com.docker.compose.project={site.project}"
    return set(docker("ps", "--quiet", "--filter", label).split())


def test_up_recreates_only_what_has_to_be(site: Site) -> None:
    before, redis = running(site), site.container("redis")
    site.run_documented("docker compose up --detach --remove-orphans")
    site.run_documented("docker compose up --detach --wait --no-deps haproxy db")
    assert running(site) == before

    site.run_documented("docker compose up --detach --force-recreate --no-deps redis")
    assert site.container("redis") != redis
    site.run_documented("docker compose restart worker")
    eventually(
        lambda: site.ask("status", code=ANY)["code"] == 0,
        seconds=60,
        what="all of the stack is healthy again",
    )
    assert len(running(site) - before) == 1


def test_up_with_build_keeps_an_unchanged_release(site: Site) -> None:
    release, before = site.release(), running(site)

    site.run_documented("./stackctl up --build")

    site.assert_both_run(release)
    assert running(site) == before


def test_adopt_of_the_own_stack_changes_nothing(site: Site) -> None:
    before = running(site)
    assert str(site.tree) in site.run_documented("./stackctl adopt")
    assert running(site) == before


def test_backup_goes_to_a_named_place(site: Site, tmp_path: Path) -> None:
    site.environment["BACKUP_PASSWORD"] = "a password of the test"
    try:
        said = site.run_documented("./stackctl backup --to PLACE", {"PLACE": str(tmp_path)})
    finally:
        del site.environment["BACKUP_PASSWORD"]
    assert "saved" in said and (tmp_path / "config").exists()
