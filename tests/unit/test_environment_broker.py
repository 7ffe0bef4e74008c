"""The URL and the settings of the message broker, for each variable that names it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from ops import environment
from ops.environment import broker
from ops.settings.backing import FILES, broker_defaults, broker_settings
from tests.unit.test_environment_redis import AWKWARD, faults

RABBITMQ = {"BROKER": "rabbitmq", "BROKER_HOST": "broker", "BROKER_PASSWORD": AWKWARD}
REDIS = {"REDIS_HOST": "redis", "REDIS_PASSWORD": "x"}


def settings(**environ: str) -> dict[str, object]:
    """Return Celery's settings of its broker."""
    layer = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test", "DJANGO_READ_DOTENV": "false"}
    url, options = broker_settings(environment.load({**layer, **environ}), Path("folder"))
    return {"broker_url": url, "broker_transport_options": options, **broker_defaults(url)}


def test_rabbitmq_url_supports_any_password() -> None:
    address = urlsplit(str(settings(**RABBITMQ, **REDIS)["broker_url"]))

    assert (address.scheme, address.hostname, address.port) == ("amqp", "broker", 5672)
    assert unquote(address.password or "") == AWKWARD


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, FILES),
        # A .env for docker compose: `make run` has no broker of that name.
        ({"BROKER": "rabbitmq"}, FILES),
        (REDIS, "redis://mysite:x@redis:6379/0"),
        ({**REDIS, "BROKER": "redis", "BROKER_HOST": "broker"}, "redis://mysite:x@redis:6379/0"),
        ({"BROKER": "kafka"}, FILES),
        ({**REDIS, "BROKER": "kafka", "BROKER_HOST": "broker"}, "confluentkafka://broker:9092"),
        ({**REDIS, **RABBITMQ, "CELERY_BROKER_URL": "amqps://u:p@h/v"}, "amqps://u:p@h/v"),
    ],
)
def test_broker_url_follows_the_order_of_the_broker_variables(
    environ: dict[str, str], expected: str
) -> None:
    assert settings(**environ)["broker_url"] == expected


@pytest.mark.parametrize("environ", [RABBITMQ, {"CELERY_BROKER_URL": "amqps://u:p@h/v"}])
def test_rabbitmq_confirms_messages_and_uses_quorum_queues(environ: dict[str, str]) -> None:
    result = settings(**environ)

    options = result["broker_transport_options"]
    assert isinstance(options, dict) and options["confirm_publish"] is True
    # Queues that a team declares too.
    for name in ("task_default_queue_type", "task_create_missing_queue_type"):
        assert result[name] == "quorum"
    # A direct exchange cannot delay a retry.
    for name in ("task_default_exchange_type", "task_create_missing_queue_exchange_type"):
        assert result[name] == "topic"
    assert "task_default_queue_type" not in settings(**REDIS)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({**REDIS, **RABBITMQ}, []),
        # Cache and rate counters are in the database then.
        (RABBITMQ, []),
        ({**REDIS, "BROKER": "rabbitmq"}, ["BROKER_HOST", "BROKER_PASSWORD"]),
        ({**REDIS, "BROKER": "rabbitmq", "BROKER_HOST": "broker"}, ["BROKER_PASSWORD"]),
        ({**REDIS, **RABBITMQ, "BROKER_PASSWORD": "local-sample-password"}, ["BROKER_PASSWORD"]),
        ({**REDIS, "BROKER": "rabbit"}, ["BROKER"]),
        ({**REDIS, "BROKER": "kafka"}, ["BROKER_HOST"]),
        ({**REDIS, "BROKER": "kafka", "BROKER_HOST": "broker"}, []),
        ({**REDIS, "BROKER": "rabbitmq", "CELERY_BROKER_URL": "amqp://u:p@h//"}, []),
        ({"CELERY_BROKER_URL": "confluentkafka://a;confluentkafka://b:9093"}, []),
        ({"CELERY_BROKER_URL": "confluentkafka://a:9092;confluentkafka://b:9092"}, []),
        ({"CELERY_BROKER_URL": "amqp://u:p@a:5672//;amqp://u:p@b:5672//"}, []),
        ({"CELERY_BROKER_URL": "confluentkafka://a:9092;b"}, ["CELERY_BROKER_URL"]),
        ({"CELERY_BROKER_URL": "confluentkafka://a:9092;"}, ["CELERY_BROKER_URL"]),
        ({"CELERY_BROKER_URL": "confluentkafka://u:p@h:9092"}, ["CELERY_BROKER_URL"]),
        ({"CELERY_BROKER_URL": "confluentkafka://a;confluentkafka://u:p@b"}, ["CELERY_BROKER_URL"]),
    ],
)
def test_wrong_broker_variables_are_reported_once(
    environ: dict[str, str], expected: list[str]
) -> None:
    assert faults(**environ) == expected


@pytest.mark.parametrize(
    "environ",
    [
        {**REDIS, "BROKER": "kafka", "BROKER_HOST": "broker"},
        {"CELERY_BROKER_URL": "confluentkafka://broker:9092"},
    ],
)
def test_missing_kafka_client_is_reported_where_the_application_runs(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the host that checks a stack, the client may be missing."""
    monkeypatch.setattr(broker, "find_spec", lambda name: None)

    with pytest.raises(
        ImproperlyConfigured, match=r"BROKER: Kafka .* its client is not installed here"
    ):
        settings(**environ)
    assert faults(**environ) == []
    assert settings(**REDIS)
