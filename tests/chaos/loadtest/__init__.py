"""The Django app of the load tests, mounted into the production containers."""
