"""Django's PostgreSQL backend, of which no outage of the database takes all workers."""
