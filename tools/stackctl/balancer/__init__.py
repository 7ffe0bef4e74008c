"""HAProxy: its admin socket, servers, configuration file and certificate; Apache in front of it.

Nothing here may start, stop or release a server.
"""
