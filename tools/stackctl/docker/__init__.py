"""The Docker Engine and the compose project: containers, images, logs, the stack's lock.

Nothing here may know what runs in a container.
"""
