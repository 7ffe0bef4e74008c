"""Tests with the mock cluster of librdkafka, without a Kafka server."""
