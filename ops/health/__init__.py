"""/livez, /readyz and /healthz: whether this server, and what it needs, works."""
