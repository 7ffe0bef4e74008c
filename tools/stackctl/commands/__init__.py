"""The other commands, a module each: up and down, backup, restore, rotate, heal, reload, certs.

Nothing here may parse arguments: cli/ does.
"""
