"""Scripts that run inside containers, and the modules that run those of databases and brokers.

A script may import nothing of stackctl: the container does not have it.
"""
