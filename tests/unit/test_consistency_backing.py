"""The services for each DB_ENGINE and BROKER.

No container test starts every choice, and none starts a real Kafka server.
"""

import re
from typing import Any

import pytest

from ops.environment import broker
from ops.environment.contract import VARIABLES
from tests.unit.config_files import dockerfile, mounts, services, text_of

# In one process, so that docker compose resolves the files once for all tests.
pytestmark = pytest.mark.xdist_group("compose")

TEST_LAYER = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test", "DJANGO_READ_DOTENV": "false"}


def data_of(service: dict[str, Any]) -> set[str]:
    """Return the volumes that a service keeps its data in."""
    return {source for source in mounts(service).values() if source.endswith("-data")}


def test_each_database_and_broker_has_its_own_data_volume() -> None:
    result = {
        "mysql": data_of(services(DB_ENGINE="mysql")["db"]),
        "postgres": data_of(services(DB_ENGINE="postgres")["db"]),
        "redis": data_of(services(LAYER="local")["redis"]),
        "rabbitmq": data_of(services(BROKER="rabbitmq")["broker"]),
        "kafka": data_of(services(BROKER="kafka")["broker"]),
    }

    assert result == {
        "mysql": {"db-data"},
        **{name: {f"{name}-data"} for name in ("postgres", "redis", "rabbitmq", "kafka")},
    }
    (folder,) = re.findall(r"^dir (\S+)$", text_of("redis/redis.conf"), re.MULTILINE)
    assert mounts(services()["redis"])[folder] == "redis-data"


def test_kafka_listener_client_and_volume_match_the_application() -> None:
    address = f"broker:{broker.PORTS['kafka']}"
    lines = text_of("variants/kafka/server.properties").splitlines()

    assert f"advertised.listeners=CLIENTS://{address}" in lines
    assert f"listeners=CLIENTS://:{broker.PORTS['kafka']},CONTROLLER://localhost:9093" in lines
    assert f"/dev/tcp/127.0.0.1/{broker.PORTS['kafka']}\n" in text_of("variants/kafka/healthcheck")
    # The image then contains the Kafka client.
    argument = f"BROKER={VARIABLES['BROKER'].default}"
    assert ("ARG", argument) in dockerfile("Dockerfile.base")
    kafka = services(BROKER="kafka")
    assert kafka["base"]["build"]["args"] == {"BROKER": "kafka"}
    # The mount point of the volume.
    (folder,) = [to for to, source in mounts(kafka["broker"]).items() if source == "kafka-data"]
    assert f"log.dirs={folder}" in lines
