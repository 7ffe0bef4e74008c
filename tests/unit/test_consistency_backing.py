"""The services for each DB_ENGINE and BROKER.

Only here: no container test starts every choice, and none a real Kafka server.
"""

import re

import pytest

from ops.environment import broker
from ops.environment.contract import VARIABLES
from tests.unit.config_files import (
    compose,
    database_service,
    dockerfile,
    services,
    text_of,
)

TEST_LAYER = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test", "DJANGO_READ_DOTENV": "false"}
DATABASES = ("mysql", "postgres")


def test_there_is_a_database_server_for_each_engine_and_no_other() -> None:
    """By each name that the engine may have; SQLite is a file."""
    variable = VARIABLES["DB_ENGINE"]
    names = {**{name: name for name in variable.choices}, **variable.aliases}
    servers = {name for name, engine in names.items() if engine != "sqlite"}

    assert set(DATABASES) == set(variable.choices) - {"sqlite"}
    assert set(compose("docker-compose.databases.yaml")["services"]) == servers
    assert compose()["services"]["db"]["extends"]["service"] == "${DB_ENGINE:-mysql}"
    for name in servers:
        assert database_service(name) == database_service(names[name]), name


@pytest.mark.parametrize("engine", DATABASES)
def test_the_database_s_data_is_in_a_volume_of_its_own(engine: str) -> None:
    """So that no server meets the other one's files."""
    (volume,) = [
        text.partition(":")[0]
        for text in database_service(engine)["volumes"]
        if not text.startswith(("./", "db-secrets:"))
    ]

    assert volume == {"mysql": "db-data", "postgres": "postgres-data"}[engine]
    assert volume in compose()["volumes"]


def test_redis_s_data_outlives_its_container() -> None:
    (folder,) = re.findall(r"^dir (\S+)$", text_of("redis/redis.conf"), re.MULTILINE)

    assert f"redis-data:{folder}" in services()["redis"]["volumes"]
    assert "redis-data" in compose()["volumes"]


def test_there_is_a_broker_for_each_choice_and_no_other() -> None:
    brokers = compose("docker-compose.brokers.yaml")["services"]
    default = VARIABLES["BROKER"].default

    assert set(brokers) == set(VARIABLES["BROKER"].choices)
    assert services()["broker"]["extends"]["service"] == f"${{BROKER:-{default}}}"
    assert set(broker.PORTS) == set(brokers) - {default}
    # Redis is there as a service of its own.
    assert brokers[default] == {"image": services()["redis"]["image"], "scale": 0}
    assert {name for name, broker in brokers.items() if "scale" in broker} == {default}


def test_kafka_is_set_up_as_the_application_asks_for_it() -> None:
    address = f"broker:{broker.PORTS['kafka']}"
    lines = text_of("kafka/server.properties").splitlines()

    assert f"advertised.listeners=CLIENTS://{address}" in lines
    assert f"listeners=CLIENTS://:{broker.PORTS['kafka']},CONTROLLER://localhost:9093" in lines
    assert f"/dev/tcp/127.0.0.1/{broker.PORTS['kafka']}\n" in text_of("kafka/healthcheck")
    # Its client is in the image then.
    argument = f"BROKER={VARIABLES['BROKER'].default}"
    assert ("ARG", argument) in dockerfile("Dockerfile.base")
    assert services()["base"]["build"]["args"] == {"BROKER": compose()["x-environment"]["BROKER"]}
    # Where the image has a volume.
    (mount,) = [
        text.partition(":")[2]
        for text in compose("docker-compose.brokers.yaml")["services"]["kafka"]["volumes"]
        if not text.startswith("./")
    ]
    assert f"log.dirs={mount}" in lines


def test_a_broker_s_data_is_in_a_volume_of_its_own() -> None:
    brokers = compose("docker-compose.brokers.yaml")["services"]
    own = [
        text.partition(":")[0]
        for name in broker.PORTS
        for text in brokers[name]["volumes"]
        if not text.startswith(("./", "broker-secrets:"))
    ]

    assert len(set(own)) == len(own) == len(broker.PORTS)
    assert set(own) <= set(compose()["volumes"])
    mounts = [mount for one in services().values() for mount in one.get("volumes", ())]
    assert not set(own) & {str(mount).partition(":")[0] for mount in mounts}
