"""librdkafka's own cluster for tests, which speaks Kafka's protocol: one broker, in memory.

https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html (test.mock)
"""

import sys
import threading

from confluent_kafka import Producer


def main() -> None:
    """Make the topics that are named, say where it is, and stay."""
    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    for topic in sys.argv[1:]:
        cluster.list_topics(topic, timeout=5)
    (broker,) = cluster.list_topics(timeout=5).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
