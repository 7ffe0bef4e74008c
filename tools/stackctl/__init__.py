"""The operations command behind ./stackctl: start, watch, release and save the compose stack.

It needs `docker compose` and HAProxy's admin socket alone; nothing here may import Django.
pyproject.toml orders its folders: none may import one above it.
"""
