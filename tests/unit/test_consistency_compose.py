"""The resolved compose files match the contract, and every service is hardened.

No container test combines all variables, layers and services.
"""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from ops.environment import files, secret_files
from ops.environment.contract import PROJECT, VARIABLES
from ops.environment.contract.backup import BACKUP
from ops.environment.render import MIGRATE_ONLY, SET_BY_IMAGE, SET_BY_SERVER, passed_on
from ops.environment.variable import Scope
from tests.tree import ROOT
from tests.unit.config_files import (
    ALL,
    COMPOSE_FILES,
    dockerfile,
    dockerfile_environment,
    haproxy_sections,
    limits,
    mounts,
    services,
    text_of,
)

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

LAYERS = ("local", "dev", "production")
SERVERS = tuple(f"server{number}" for number in range(1, 7))
# ${NAME}, ${NAME:-default}, and every other form that compose supports.
USE = re.compile(r"(?<!\$)\$\{?(\w+)([^}$]*)\}?")

# Compose defaults for servers of the stack; the application has no default for these.
STACK_SERVER_DEFAULTS = {
    "REDIS_HOST": "redis",
    "BROKER_HOST": "broker",
    "DB_ENGINE": "mysql",
    "DB_HOST": "db",
    "DB_NAME": "mysite",
    "DB_USER": "mysite",
    "SERVER_COUNT": "2",
}
EXPORTERS = ("db-exporter", "redis-exporter")
# They end before the site is up, or are never started.
ONE_SHOTS = {"base", "certbot", "certificates", "env-check", "migrate"}
# A path: compose includes a file when it is set, whatever its value.
WITH_TLS = ("TLS_CERTIFICATE", ":+s")
# Each adds to a file's name where it is set.
WITH_ALERTMANAGER = ("ALERTMANAGER_CONFIG_FILE", ":+.1")
CHOOSES_A_FILE = (WITH_TLS, WITH_ALERTMANAGER, ("HTTP_IPV6_ADDRESS", ":+v6"))
# Whether a second duration counts.
ADDS_A_DURATION = ("SLOW_PATHS", ":+")


def started(**variables: str) -> dict[str, dict[str, Any]]:
    """Return the services that start a container."""
    every = services(**variables)
    return {name: service for name, service in every.items() if service.get("scale") != 0}


def all_services() -> list[tuple[str, dict[str, Any]]]:
    """Return every possible service, and each variant of those that differ by a variable."""
    other = {**ALL, "BROKER": "kafka", "DB_ENGINE": "postgres", "LAYER": "production"}
    result = list(started().items()) + list(started(**other).items())
    assert {"apache", "broker", "nginx-balancer", "certificates", "db", *SERVERS} <= {
        name for name, _ in result
    }
    return result


def variable_uses() -> list[tuple[str, str]]:
    """Return each use of a variable's value in the compose files, with what follows its name."""
    result = []
    for name in COMPOSE_FILES:
        lines = [line for line in text_of(name).splitlines() if not line.lstrip().startswith("#")]
        result += USE.findall("\n".join(lines))
    return [use for use in result if use not in (*CHOOSES_A_FILE, ADDS_A_DURATION)]


def stack_environment(service: str) -> set[str]:
    """Return the variables that a service receives, without those of the project."""
    return set(services()[service]["environment"]) - {variable.name for variable in PROJECT}


def services_with(names: Iterable[str]) -> set[str]:
    """Return the services that receive one of these variables."""
    return {name for name, one in all_services() if set(names) & set(one.get("environment", {}))}


@pytest.mark.parametrize("layer", LAYERS)
def test_image_sets_the_variables_that_compose_does_not(layer: str) -> None:
    environment = {
        **dockerfile_environment("Dockerfile.base"),
        **dockerfile_environment(f"Dockerfile.{layer}"),
    }

    assert environment.keys() >= SET_BY_IMAGE
    assert environment["DJANGO_SETTINGS_MODULE"] == f"mysite.settings.{layer}"
    for name, value in environment.items():
        if name in VARIABLES and not value.startswith("$"):
            VARIABLES[name].parse(value)


@pytest.mark.parametrize("layer", LAYERS)
def test_defaults_in_the_dockerfiles_match_the_contract(layer: str) -> None:
    environment = dockerfile_environment("Dockerfile.base")
    arguments = [text for name, text in dockerfile(f"Dockerfile.{layer}") if name == "ARG"]

    assert environment["WEB_CONCURRENCY"] == VARIABLES["WEB_CONCURRENCY"].default
    assert arguments == [f"RELEASE={VARIABLES['RELEASE'].default}"]
    assert dockerfile_environment(f"Dockerfile.{layer}")["RELEASE"] == "$RELEASE"


def test_defaults_in_the_start_scripts_match_the_contract() -> None:
    folders = ("haproxy", "nginx", "redis", "supervisor", "uwsgi", "variants")
    scripts = [
        content.decode()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        # Not as text: compiled modules may be next to them.
        and (content := path.read_bytes()).startswith((b"#!/bin/", b"# shellcheck"))
    ]
    defaults = re.findall(r"\$\{(\w+):[-=](\w+)\}", "\n".join(scripts))
    known = {
        (name, text) for name, text in defaults if name in VARIABLES and VARIABLES[name].default
    }

    assert {"DRAIN_SECONDS", "REQUEST_SECONDS", "UPLOAD_MAX_MB"} <= {name for name, _ in known}
    assert known == {(name, VARIABLES[name].default) for name, _ in known}


def test_application_services_receive_application_variables_and_no_stack_variables() -> None:
    for name in (*SERVERS, "worker"):
        assert stack_environment(name) == {*passed_on(), *SET_BY_SERVER}
    assert stack_environment("migrate") == {*passed_on(), *MIGRATE_ONLY}
    stack = {name for name, variable in VARIABLES.items() if variable.scope is Scope.STACK}
    assert set(services()["env-check"]["environment"]) >= {*passed_on(), *MIGRATE_ONLY, *stack}


def test_superuser_variables_reach_only_migrate_and_env_check() -> None:
    assert services_with(MIGRATE_ONLY) == {"migrate", "env-check"}


def test_each_server_has_its_own_profile_name() -> None:
    for number, name in enumerate(SERVERS, 1):
        assert services()[name]["environment"]["PROFILE"] == f"set{number}"


@pytest.mark.parametrize("count", range(2, 7))
def test_server_count_sets_the_servers_of_all_load_balancers(count: int) -> None:
    """HAProxy, Apache and the nginx balancer read it too."""
    result = services(**{**ALL, "SERVER_COUNT": str(count)})

    assert {name for name in result if name.startswith("server")} == set(SERVERS[:count])
    for name in ("haproxy", "apache", "nginx-balancer", "server1", "env-check"):
        assert result[name]["environment"]["SERVER_COUNT"] == str(count)
    # The name of a server that is not started resolves to an address that refuses connections.
    assert {host.partition("=")[0] for host in result["apache"]["extra_hosts"]} == set(SERVERS)
    assert VARIABLES["SERVER_COUNT"].choices[-1] == str(len(SERVERS))


def test_secret_volumes_are_read_only_for_their_reader_and_written_by_env_check() -> None:
    """ops/environment/secret_files.py lists the readers."""
    result = {
        (mount["source"], mount["target"], mount.get("read_only", False), name)
        for name, service in all_services()
        for mount in service.get("volumes", ())
        if mount["source"].endswith("-secrets")
    }
    folder = str(files.MOUNTED)
    readers = {"application": (*SERVERS, "worker"), "exporter": EXPORTERS}

    assert result == {
        *(
            (f"{name}-secrets", f"{secret_files.VOLUMES}/{name}", False, "env-check")
            for name in secret_files.READERS
        ),
        *(
            (f"{name}-secrets", folder, True, reader)
            for name in secret_files.READERS
            for reader in readers.get(name, (name,))
        ),
    }
    # Each service runs as the user that owns its secrets.
    for reader, (user, _) in secret_files.READERS.items():
        for name in readers.get(reader, (reader,)):
            if name in services() and "user" in services()[name]:
                assert services()[name]["user"].startswith(f"{user}:")
    assert services()["env-check"]["user"] == "0:0"
    assert services()["env-check"]["network_mode"] == "none"


def test_haproxy_receives_only_the_variables_that_its_configuration_reads() -> None:
    lines = [line for section in haproxy_sections().values() for line in section]
    names = re.compile(r"\$\{(\w+)\}|\(\"\$(\w+)\"|defined\((\w+)\)")
    read = {name for line in lines for match in names.findall(line) for name in match if name}

    derived = limits().keys() & read
    # HTTP_PORT is for the address that its start prints.
    slow = {"SLOW_PATHS", "SLOW_REQUEST_SECONDS", "SLOW_CONCURRENCY"}
    assert {"SLOW_PREFIXES", "SLOW_CONCURRENCY"} <= derived
    assert read - derived | {"REQUEST_SECONDS", "HTTP_PORT", *slow} == set(
        services()["haproxy"]["environment"]
    )
    # These two are set only with a certificate, the third only with itself.
    without = services(LAYER="local")["haproxy"]["environment"]
    optional = {"HTTPS_PORT", "DJANGO_ALLOWED_HOSTS", "HTTP_IPV6_ADDRESS"}
    assert read - derived - set(without) == optional
    # The only secret is that of the stats page.
    assert {name for name in read - derived if VARIABLES[name].secret} == {"STATS_PASSWORD"}


def test_optional_service_exists_only_with_its_variable() -> None:
    every = services(LAYER="local")
    plain = set(every)
    always = {
        "base",
        "env-check",
        "migrate",
        "server1",
        "server2",
        "haproxy",
        "worker",
        "db",
        "redis",
    }

    assert plain == always | {"certbot"}
    # `up` starts neither certbot nor base.
    assert {name for name, one in every.items() if one.get("profiles")} == {"certbot"}
    assert plain - set(started(LAYER="local")) == {"base"}
    assert set(services(APACHE="1")) - plain == {"apache"}
    assert set(services(NGINX_BALANCER="1")) - plain == {"nginx-balancer"}
    assert set(services(TLS_CERTIFICATE="certs/x")) - plain == {"certificates"}
    assert set(services(DB_ENGINE="postgres")) == plain
    monitoring = {"prometheus", "node-exporter", *EXPORTERS}
    assert set(services(MONITORING="prometheus")) - plain == monitoring
    assert set(services(MONITORING="grafana")) - plain == monitoring | {"grafana"}
    file = {"ALERTMANAGER_CONFIG_FILE": "var/alertmanager.yml"}
    assert set(services(**file)) == plain
    with_it = set(services(MONITORING="prometheus", **file))
    assert with_it - plain == monitoring | {"alertmanager"}
    for name in set(VARIABLES["BROKER"].choices) - {"redis"}:
        assert set(services(BROKER=name)) - plain == {"broker"}


def test_nginx_balancer_runs_the_base_image_as_its_unprivileged_user() -> None:
    service, base = services()["nginx-balancer"], services()["base"]

    assert {key: service[key] for key in ("build", "image")} == {
        key: base[key] for key in ("build", "image")
    }
    made = dict(re.findall(r"--(uid|gid) (\d+)", text_of("Dockerfile.base")))
    assert service["user"] == f"{made['uid']}:{made['gid']}"


def test_compose_uses_every_stack_variable() -> None:
    stack = {name for name, variable in VARIABLES.items() if variable.scope is Scope.STACK}

    # stackctl reads these itself.
    stackctl = {variable.name for variable in BACKUP.variables} - {"BACKUP", "BACKUP_AT"}
    # LAYER and STACK_NAME are used in docker-compose.yaml.
    choose = {WITH_TLS[0], WITH_ALERTMANAGER[0].removesuffix("_FILE")}
    assert stack - choose - stackctl == {name for name, _ in variable_uses()} & stack


def test_contract_declares_every_variable_that_compose_uses() -> None:
    assert variable_uses()
    declared = {**VARIABLES, **{variable.name: variable for variable in PROJECT}}
    for name, rest in variable_uses():
        if name.removesuffix("_FILE") != name:
            assert declared[name.removesuffix("_FILE")].secret and rest == ":-/dev/null"
            continue
        assert name in declared, name
        # With `:-`, an empty value counts as not set, as in the application.
        assert rest.startswith(":-"), f"{name}: {rest}"


def test_defaults_in_compose_match_the_contract() -> None:
    for name, rest in variable_uses():
        if name not in VARIABLES:
            continue
        variable = VARIABLES[name]
        allowed = {variable.default, *variable.layer_defaults.values(), variable.sample}
        allowed |= {STACK_SERVER_DEFAULTS.get(name, variable.default)}
        if variable.scope is not Scope.STACK:
            allowed -= {""}
        default = rest.removeprefix(":-")

        assert default in allowed, f"{name}: {default!r}"
        if default:
            variable.parse(default)


@pytest.mark.parametrize("name", sorted(STACK_SERVER_DEFAULTS))
def test_contract_has_no_default_where_compose_names_a_server_of_the_stack(name: str) -> None:
    assert VARIABLES[name].default == ""
    assert (name, f":-{STACK_SERVER_DEFAULTS[name]}") in variable_uses()


@pytest.mark.parametrize("layer", VARIABLES["LAYER"].choices)
def test_source_folder_is_mounted_only_in_the_local_layer(layer: str) -> None:
    live = {
        name for name, one in services(LAYER=layer).items() if str(ROOT) in mounts(one).values()
    }
    image = {
        name for name, one in services(LAYER=layer).items() if one.get("pull_policy") == "never"
    }

    assert {"server1", "server2", "worker", "migrate", "env-check"} == image
    assert live == (image if layer == "local" else set())


def test_tls_key_is_mounted_only_in_certificates_and_haproxy() -> None:
    readers = {
        source: {name for name, one in services().items() if source in mounts(one).values()}
        for source in ("certs", "certificates")
    }

    assert readers == {"certs": {"certificates"}, "certificates": {"certificates", "haproxy"}}
    (own,) = [m for m in services()["haproxy"]["volumes"] if m["source"] == "certificates"]
    assert own["read_only"] is True
    assert services()["certificates"]["network_mode"] == "none"


@pytest.mark.parametrize("layer", LAYERS)
def test_only_env_check_builds_the_image_of_the_layer_and_no_service_pulls_it(layer: str) -> None:
    every = services(LAYER=layer)
    own = {name for name, one in every.items() if one["image"] == f"mysite-{layer}"}

    assert {name for name in own if "build" in every[name]} == {"env-check"}
    assert every["env-check"]["build"]["dockerfile"] == f"Dockerfile.{layer}"
    assert {every[name]["pull_policy"] for name in own} == {"never"}


def test_no_service_depends_on_an_optional_service() -> None:
    """Else `docker compose -p mysite-local start haproxy` fails without a compose file."""
    optional = {"apache", "broker", "nginx-balancer", *SERVERS[2:]}
    depend = {
        (name, other) for name, service in all_services() for other in service.get("depends_on", {})
    }
    assert ("server1", "migrate") in depend
    assert {pair for pair in depend if pair[1] in optional} == set()


def before(name: str, every: dict[str, dict[str, Any]]) -> set[str]:
    """Return the services that must be healthy, or done, before this one starts."""
    result = set(every[name].get("depends_on", {}))
    return result.union(*(before(other, every) for other in result))


@pytest.mark.parametrize("variables", [{"LAYER": "local"}, ALL])
def test_services_start_after_their_dependencies_are_healthy(variables: dict[str, str]) -> None:
    every = started(**variables)
    after = {name: before(name, every) for name in every}

    # certbot is run by hand while the stack is up.
    assert {name for name in every if "env-check" not in after[name]} == {"env-check", "certbot"}
    for name in {*SERVERS, "worker"} & every.keys():
        assert after[name] >= {"migrate", "db", "redis"}, name
    for name in {"haproxy", "apache", "nginx-balancer"} & every.keys():
        assert after[name] >= {"server1", "server2"}, name
    assert ("certificates" in after["haproxy"]) is ("certificates" in every)
    for name, service in every.items():
        for other, needed in service.get("depends_on", {}).items():
            done = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            assert needed["condition"] == done, (name, other)


def test_secrets_have_no_default_except_the_refused_sample() -> None:
    secrets = [use for use in variable_uses() if use[0] in VARIABLES and VARIABLES[use[0]].secret]

    assert {"DB_PASSWORD", "REDIS_PASSWORD", "STATS_PASSWORD"} <= {name for name, _ in secrets}
    for name, rest in secrets:
        assert rest == f":-{VARIABLES[name].sample}"
