"""The tests of Kafka's messages, on a cluster without servers, and the jobs that they run."""
