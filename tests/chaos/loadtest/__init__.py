"""A Django app for load tests, mounted into the production image: a slow view, rows to write."""
