"""The database: what an outage does to requests, locks, and migrations that wait for them.

Nothing here may know a model.
"""
