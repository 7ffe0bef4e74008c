"""The status page and /api/status/: the whole stack, live."""
