"""Running other programs, reading what they print, the terminal, Ctrl-C, errors.

Nothing here may know Docker, HAProxy or the stack.
"""
