"""What a worker does besides its tasks: it reports that it is healthy, and detects lost tasks."""
