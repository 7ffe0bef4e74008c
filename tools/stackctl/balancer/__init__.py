"""HAProxy: its admin socket, servers, configuration file and certificate.

Nothing here may start, stop or release a server.
"""
