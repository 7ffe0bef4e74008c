"""What the tests of Kafka's messages run: a cluster without servers, and jobs."""
