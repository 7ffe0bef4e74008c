"""Django's MySQL backend, of which no outage of the database takes all workers."""
