"""The mock cluster of librdkafka, which speaks Kafka's protocol: one broker, in memory.

https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html (test.mock)
"""

import ctypes
import sys
import threading
from pathlib import Path

from confluent_kafka import Producer


def main() -> None:
    """Create the topics, print the address of the broker, and run until killed."""
    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    rebalance_at_once(cluster)
    for topic in sys.argv[1:]:
        cluster.list_topics(topic, timeout=5)
    (broker,) = cluster.list_topics(timeout=5).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    threading.Event().wait()


def rebalance_at_once(cluster: Producer) -> None:
    """Set group.initial.rebalance.delay.ms to 0, as variants/kafka/server.properties does."""
    library = librdkafka()
    library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    mock = ctypes.c_void_p(library.rd_kafka_handle_mock_cluster(c_handle(cluster)))
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 0)


def librdkafka() -> ctypes.CDLL:
    """Return the C library that confluent_kafka loaded."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return ctypes.CDLL(next(line.split()[-1] for line in lines if "librdkafka" in line))


def c_handle(client: Producer) -> ctypes.c_void_p:
    """Return the C handle of a client, which follows the header of the Python object."""
    return ctypes.c_void_p.from_address(id(client) + object.__basicsize__)


if __name__ == "__main__":
    main()
