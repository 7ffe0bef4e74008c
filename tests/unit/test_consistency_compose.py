"""The compose files against the contract of the environment, and what every service needs.

Only here: the contract has variables, layers and services that no container test combines.
"""

import re
from typing import Any

import pytest

from ops.environment import files, secret_files
from ops.environment.contract import PROJECT, VARIABLES
from ops.environment.variable import Scope
from tests.unit.config_files import (
    broker_service,
    compose,
    database_service,
    dockerfile,
    dockerfile_environment,
    filled,
    haproxy_sections,
    limits,
    seconds,
    services,
    text_of,
)

FILES = tuple(f"docker-compose{part}.yaml" for part in ("", ".layers", ".databases", ".brokers"))
LAYERS = ("local", "dev", "production")
# ${NAME}, ${NAME:-default}, and whatever else compose knows.
USE = re.compile(r"(?<!\$)\$\{?(\w+)([^}]*)\}?")

# Variables of the application that compose does not pass on, by the reason.
BY_THE_IMAGE = {
    "DJANGO_SETTINGS_MODULE",
    "DJANGO_READ_DOTENV",
    "DRAIN_FILE",
    "MEDIA_ROOT",
    "MESSAGES_ROOT",
    "PROMETHEUS_MULTIPROC_DIR",
    "RELEASE",
    "STATIC_ROOT",
    "UPLOAD_TEMP_DIR",
    "WORKER_HEARTBEAT_FILE",
}
BY_EACH_SERVER = {"PROFILE"}
# Migrate makes the first superuser; nobody else knows the password.
BY_MIGRATE = {name for name in VARIABLES if name.startswith("DJANGO_SUPERUSER_")}
BUILD_STEPS_ONLY = {"DJANGO_BUILD"}
ON_THE_HOST_ONLY = {"RUN_PORT", "TEST_DB_NAME"}
BY_ELASTIC_BEANSTALK = {name for name in VARIABLES if name.startswith("RDS_")} | {
    "CONTAINER_COMMAND",
    "RUN_MIGRATIONS",
}
NOT_PASSED = (
    BY_THE_IMAGE
    | BY_EACH_SERVER
    | BY_MIGRATE
    | BUILD_STEPS_ONLY
    | ON_THE_HOST_ONLY
    | BY_ELASTIC_BEANSTALK
)

# What stands for the servers of the stack itself, where the application has no default.
THE_STACK_S_SERVERS = {
    "REDIS_HOST": "redis",
    "BROKER_HOST": "broker",
    "DB_ENGINE": "mysql",
    "DB_HOST": "db",
    "DB_NAME": "mysite",
    "DB_USER": "mysite",
}

# They switch something on by being set.
SWITCHES = {"APACHE", "SERVER3"}

# Made and ended before the site is up, or never started.
ONE_SHOTS = {"base", "certbot", "certificates", "env-check", "migrate"}

# Picks another service of docker-compose.layers.yaml where it is set.
WITH_TLS = ("TLS_CERTIFICATE", ":+-tls")


def started() -> dict[str, dict[str, Any]]:
    """Return the services of which a container is started."""
    return {name: service for name, service in services().items() if service.get("scale") != 0}


def uses() -> list[tuple[str, str]]:
    """Return each use of a variable's value in the compose files, with what follows its name."""
    found = []
    for name in FILES:
        lines = [line for line in text_of(name).splitlines() if not line.lstrip().startswith("#")]
        found += USE.findall("\n".join(lines))
    return [use for use in found if use != WITH_TLS]


def test_the_application_gets_every_variable_of_its_own() -> None:
    declared = {name for name, variable in VARIABLES.items() if variable.scope is Scope.DJANGO}

    assert declared >= NOT_PASSED
    assert set(compose()["x-environment"]) == declared - NOT_PASSED


@pytest.mark.parametrize("layer", LAYERS)
def test_the_image_sets_what_compose_leaves_to_it(layer: str) -> None:
    environment = {
        **dockerfile_environment("Dockerfile.base"),
        **dockerfile_environment(f"Dockerfile.{layer}"),
    }

    assert environment.keys() >= BY_THE_IMAGE
    assert environment["DJANGO_SETTINGS_MODULE"] == f"mysite.settings.{layer}"
    for name, value in environment.items():
        if name in VARIABLES and not value.startswith("$"):
            VARIABLES[name].parse(value)


@pytest.mark.parametrize("layer", LAYERS)
def test_an_image_s_own_defaults_are_the_contract_s(layer: str) -> None:
    environment = dockerfile_environment("Dockerfile.base")
    arguments = [text for name, text in dockerfile(f"Dockerfile.{layer}") if name == "ARG"]

    assert environment["WEB_CONCURRENCY"] == VARIABLES["WEB_CONCURRENCY"].default
    assert arguments == [f"RELEASE={VARIABLES['RELEASE'].default}"]
    assert dockerfile_environment(f"Dockerfile.{layer}")["RELEASE"] == "$RELEASE"


def test_each_server_sets_what_compose_leaves_to_it() -> None:
    for name in ("server1", "server2", "server3"):
        own = set(services()[name]["environment"]) - set(compose()["x-environment"])

        assert own == BY_EACH_SERVER


def test_the_application_s_servers_never_see_the_stack_s_variables() -> None:
    stack = {name for name, variable in VARIABLES.items() if variable.scope is Scope.STACK}

    for name in ("server1", "server2", "server3", "worker", "migrate"):
        assert not stack & set(services()[name]["environment"])
    # Only the check of everything sees both.
    both = set(services()["env-check"]["environment"])
    assert both == set(compose()["x-environment"]) | BY_MIGRATE | set(
        compose()["x-stack-environment"]
    ) | set(compose()["x-nginx-balancer-environment"]) | {
        WITH_TLS[0],
        "APP_MEMORY",
        "DIRECT_ADDRESS",
    }


def test_each_reader_of_secrets_in_files_has_a_volume_that_only_env_check_fills() -> None:
    """As ops/environment/secret_files.py says; a reader cannot change what it reads."""
    layers = compose("docker-compose.layers.yaml")["services"]
    every = {**services(), **layers, "postgres": database_service("postgres")}
    every |= {"mysql": database_service("mysql"), "rabbitmq": broker_service("rabbitmq")}
    mounts = {
        (mount, name)
        for name, service in every.items()
        for mount in service.get("volumes", ())
        if "-secrets:" in mount
    }
    given = {f"{name}-secrets:{secret_files.VOLUMES}/{name}" for name in secret_files.READERS}
    readers = {"db": ("mysql", "postgres"), "broker": ("rabbitmq",)}
    readers["application"] = ("server1", "server2", "server3", "worker")
    read = {
        (f"{name}-secrets:{files.MOUNTED}:ro", reader)
        for name in secret_files.READERS
        for reader in readers.get(name, (name,))
    }

    assert mounts == {(mount, "env-check") for mount in given} | read
    # Each reads as its own user.
    for name, (user, _) in secret_files.READERS.items():
        if name in services() and "user" in services()[name]:
            assert services()[name]["user"].startswith(f"{user}:")
    assert services()["env-check"]["user"] == "0:0"
    assert services()["env-check"]["network_mode"] == "none"


def test_the_first_superuser_s_password_is_migrate_s_alone() -> None:
    knowing = {
        name
        for name, service in services().items()
        if BY_MIGRATE & set(service.get("environment", {}))
    }

    assert set(compose()["x-superuser"]) == BY_MIGRATE
    assert knowing == {"migrate", "env-check"}


def test_haproxy_sees_what_its_configuration_reads_and_nothing_else() -> None:
    lines = [line for section in haproxy_sections().values() for line in section]
    read = {name for line in lines for name in re.findall(r"\$\{(\w+)\}", line)}

    tls = compose("docker-compose.layers.yaml")["x-tls"]
    derived = limits().keys() & read
    assert derived and read - derived | {"REQUEST_SECONDS"} == {
        *services()["haproxy"]["environment"],
        *tls["environment"],
    }
    # The configuration tells by this one whether there is a certificate.
    assert "HTTPS_PORT" not in services()["haproxy"]["environment"]
    # Of the secrets, the stats page's alone.
    assert {name for name in read - derived if VARIABLES[name].secret} == {"STATS_PASSWORD"}


def test_nginx_as_the_balancer_is_there_on_demand_alone() -> None:
    service = services()["nginx-balancer"]

    assert service["profiles"] == ["nginx-balancer"]
    assert set(service["environment"]) == {
        "SERVERS",
        *compose()["x-nginx-balancer-environment"],
    }
    # The status page's list, one for both.
    assert service["environment"]["SERVERS"] == compose()["x-environment"]["SERVERS"]
    # Built as the base image is, whose name it has; as the user whom the image makes.
    base = services()["base"]
    assert {key: service[key] for key in ("build", "image")} == {
        key: base[key] for key in ("build", "image")
    }
    made = dict(re.findall(r"--(uid|gid) (\d+)", text_of("Dockerfile.base")))
    assert service["user"] == f"{made['uid']}:{made['gid']}"
    on_demand = {name for name, other in services().items() if "profiles" in other}
    assert on_demand == {"certbot", "nginx-balancer"}


def test_every_variable_of_the_stack_is_used() -> None:
    stack = {name for name, variable in VARIABLES.items() if variable.scope is Scope.STACK}

    assert stack - {WITH_TLS[0]} == {name for name, _ in uses()} & stack
    for name in ("haproxy", "certificates"):
        assert services()[name]["extends"]["service"].endswith(f"${{{''.join(WITH_TLS)}}}")


def test_every_variable_that_compose_uses_is_declared() -> None:
    assert uses()
    declared = {**VARIABLES, **{variable.name: variable for variable in PROJECT}}
    for name, rest in uses():
        if name.removesuffix("_FILE") != name:
            assert declared[name.removesuffix("_FILE")].secret and rest == ":-/dev/null"
            continue
        assert name in declared, name
        # Forms in which an empty value counts as not set, as it does for the application.
        assert rest.startswith(":+" if name in SWITCHES else ":-"), f"{name}: {rest}"


def test_a_switch_has_one_value_and_no_default() -> None:
    """Since compose looks only whether it is set at all."""
    for name in SWITCHES:
        assert (VARIABLES[name].choices, VARIABLES[name].default) == (("1",), "")


def test_defaults_are_the_contract_s() -> None:
    for name, rest in uses():
        if name in SWITCHES or name not in VARIABLES:
            continue
        variable = VARIABLES[name]
        allowed = {variable.default, *variable.layer_defaults.values(), variable.sample}
        allowed |= {THE_STACK_S_SERVERS.get(name, variable.default)}
        default = rest.removeprefix(":-")

        assert default in allowed - {""}, f"{name}: {default!r}"
        variable.parse(default)


@pytest.mark.parametrize("name", sorted(THE_STACK_S_SERVERS))
def test_the_stack_s_own_servers_stand_in_for_nothing_else(name: str) -> None:
    """Were the contract to get a default of its own, it would be that one."""
    assert VARIABLES[name].default == ""
    assert (name, f":-{THE_STACK_S_SERVERS[name]}") in uses()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_published_where_the_contract_says(layer: str) -> None:
    ports = compose("docker-compose.layers.yaml")["services"][f"haproxy-{layer}"]["ports"]
    variables = {name: VARIABLES[name].default_in(layer) for name in ("HTTP_ADDRESS", "HTTP_PORT")}
    address, port = (f"${{{name}:-{default}}}" for name, default in variables.items())

    assert f"{address}:{port}:8080" in ports
    # The stats page is for this machine alone, whatever the layer.
    stats = VARIABLES["STATS_PORT"].default_in(layer)
    assert f"127.0.0.1:${{STATS_PORT:-{stats}}}:8888" in ports
    assert len(ports) == 2


@pytest.mark.parametrize("layer", LAYERS)
def test_with_a_certificate_a_layer_is_published_by_https_too(layer: str) -> None:
    service = compose("docker-compose.layers.yaml")["services"][f"haproxy-{layer}-tls"]
    variables = {name: VARIABLES[name].default_in(layer) for name in ("HTTP_ADDRESS", "HTTPS_PORT")}
    address, port = (f"${{{name}:-{default}}}" for name, default in variables.items())

    assert service["ports"] == [f"{address}:{port}:8443"]
    # dev's and production's are the same.
    assert service["extends"] == {"service": f"haproxy-{'local' if layer == 'local' else 'dev'}"}
    hosts = VARIABLES["DJANGO_ALLOWED_HOSTS"].default_in("local")
    assert service["environment"] == {
        "HTTPS_PORT": port,
        "DJANGO_ALLOWED_HOSTS": f"${{DJANGO_ALLOWED_HOSTS:-{hosts}}}",
    }
    assert service["volumes"] == ["certificates:/srv/certificates:ro"]


def test_only_the_load_balancers_are_published() -> None:
    here = {name: service["ports"] for name, service in services().items() if "ports" in service}
    address, port = (VARIABLES[f"NGINX_BALANCER_{name}"].default for name in ("ADDRESS", "PORT"))
    assert here == {
        "nginx-balancer": [
            f"${{NGINX_BALANCER_ADDRESS:-{address}}}:${{NGINX_BALANCER_PORT:-{port}}}:8090"
        ]
    }
    assert address == "127.0.0.1"
    layers = compose("docker-compose.layers.yaml")["services"]
    published = {name for name, service in layers.items() if "ports" in service}
    assert published == {
        *(f"haproxy-{layer}{tls}" for layer in LAYERS for tls in ("", "-tls")),
        *("apache-on", *(f"{layer}-asked" for layer in LAYERS)),
    }
    assert compose()["networks"]["backend"]["internal"] is True


def test_with_apache_both_web_servers_can_be_asked_from_this_machine_alone() -> None:
    layers = compose("docker-compose.layers.yaml")["services"]
    address = VARIABLES["DIRECT_ADDRESS"].default

    assert address == "127.0.0.1"
    for name, variable in [
        *((f"{layer}-asked", "NGINX") for layer in LAYERS),
        ("apache-on", "APACHE"),
    ]:
        (port,) = layers[name]["ports"]
        wanted = f"${{{variable}_PORT:-{VARIABLES[f'{variable}_PORT'].default}}}"
        assert port.startswith(f"${{DIRECT_ADDRESS:-{address}}}:{wanted}:")
    for layer in LAYERS:
        assert layers[f"{layer}-asked"]["extends"] == layer
    assert services()["server1"]["extends"]["service"] == "${LAYER:-local}${APACHE:+-asked}"


def test_there_is_a_service_for_each_layer_and_no_other() -> None:
    choices = VARIABLES["LAYER"].choices

    assert choices == LAYERS
    picked = ("certificates", *(f"haproxy-{layer}" for layer in choices))
    expected = {*choices, *picked, *(f"{name}-tls" for name in picked)}
    expected |= {"apache", "apache-on"}
    expected |= {f"{layer}-{form}" for layer in choices for form in ("asked", "built")}
    assert set(compose("docker-compose.layers.yaml")["services"]) == expected


def test_the_key_is_read_by_its_copier_and_by_haproxy_alone() -> None:
    layers = compose("docker-compose.layers.yaml")["services"]
    every = {**services(), **layers}
    folders = {
        name: {str(mount).partition(":")[0] for mount in service.get("volumes", ())}
        for name, service in every.items()
    }

    assert {name for name, mounts in folders.items() if "./certs" in mounts} == {"certificates-tls"}
    assert {name for name, mounts in folders.items() if "certificates" in mounts} == {
        "certificates",
        "certificates-tls",
        *(f"haproxy-{layer}-tls" for layer in LAYERS),
    }
    assert services()["certificates"]["network_mode"] == "none"
    # Where there is no certificate nobody looks for one.
    assert layers["certificates"]["scale"] == 0 and "scale" not in layers["certificates-tls"]


def test_one_service_builds_the_layers_image_and_none_pulls_it() -> None:
    layers = compose("docker-compose.layers.yaml")["services"]

    assert {name for name, service in layers.items() if "build" in service} == {
        f"{layer}-built" for layer in LAYERS
    }
    assert all(layers[layer]["pull_policy"] == "never" for layer in LAYERS)
    assert services()["env-check"]["extends"]["service"] == "${LAYER:-local}-built"


def test_every_service_has_a_limit_of_memory_and_processes() -> None:
    for name, service in services().items():
        # Made, never started.
        if name != "base":
            assert {"mem_limit", "pids_limit"} <= set(service), name


def test_servers_that_reap_no_foreign_children_run_under_an_init() -> None:
    """Children of a killed health check, or of the worker's killed processes, become theirs."""
    with_init = {name for name, service in services().items() if service.get("init")}

    assert with_init == {"db", "redis", "broker", "worker"}


def test_what_needs_no_outside_has_no_way_out() -> None:
    networks = compose()["networks"]
    no_answer = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert networks["front"] == {"driver_opts": no_answer} and networks["backend"]["internal"]
    out = {name for name, service in services().items() if "edge" in service.get("networks", ())}
    assert out == {"server1", "server2", "server3", "worker", "certbot"}
    # The engine takes the default route of the first by name that is not internal.
    assert min(set(networks) - {"backend"}) == "edge"
    # As in stacks that run: with other options compose would remove it while they serve.
    assert networks["edge"] is None


def test_nobody_depends_on_what_may_have_no_container() -> None:
    """Or `docker compose -p mysite-local start haproxy` fails, where there is no compose file."""
    # What these two extend says how many there are.
    optional = {"apache", "broker"}
    optional |= {name for name, service in services().items() if service.get("scale", 1) != 1}
    assert "server3" in optional
    depend = {
        (name, other)
        for name, service in services().items()
        for other in service.get("depends_on", {})
    }
    assert ("server1", "migrate") in depend
    assert {pair for pair in depend if pair[1] in optional} == set()


def test_secrets_have_no_default_but_the_refused_sample() -> None:
    for name, rest in uses():
        if name in VARIABLES and VARIABLES[name].secret:
            assert rest == f":-{VARIABLES[name].sample}"


def test_every_service_has_a_health_check_or_says_that_it_has_none() -> None:
    image = [
        text for instruction, text in dockerfile("Dockerfile.base") if instruction == "HEALTHCHECK"
    ]

    assert len(image) == 1
    for name, service in started().items():
        # Those that run the project's image have its own check.
        own = service.get("healthcheck", {"test": image[0]} if name.startswith("server") else {})
        assert own.get("disable") is (True if name in ONE_SHOTS else None), name
        assert "test" in own or own.get("disable"), name


def test_every_log_has_a_limit() -> None:
    for name, service in started().items():
        options = service["logging"]["options"]
        assert {"max-size", "max-file"} <= set(options), name


def test_every_service_that_stays_is_restarted() -> None:
    for name, service in services().items():
        expected = None if name in ONE_SHOTS else "unless-stopped"
        assert service.get("restart") == expected, name


def test_every_container_has_no_more_rights_than_it_needs() -> None:
    for name, service in started().items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name not in ("db", "broker"):
            assert service["read_only"] is True, name
    assert database_service("postgres")["read_only"] is True
    assert compose("docker-compose.brokers.yaml")["services"]["rabbitmq"]["read_only"] is True
    # MySQL's root changes its configuration while it starts.
    assert "read_only" not in database_service("mysql")


def test_what_stops_slowly_has_the_time() -> None:
    for name in started().keys() - ONE_SHOTS:
        assert seconds(filled(services()[name]["stop_grace_period"], limits())) >= 30, name
