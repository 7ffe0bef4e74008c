"""The command behind ./swarmctl: the stack on the machines of a Docker Swarm.

It needs nothing but Python, Docker and its Compose.
"""
