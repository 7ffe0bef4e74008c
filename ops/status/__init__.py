"""The status page and /status/report/: the whole stack, live."""
