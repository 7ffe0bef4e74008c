"""The operations command behind ./stackctl: start, watch, release and save the compose stack.

It speaks to `docker compose` and to HAProxy's admin socket, and needs nothing else on the host.
"""
