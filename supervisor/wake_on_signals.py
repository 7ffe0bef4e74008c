"""An extension of supervisord that lets it act at once when it is stopped or a program ends.

Its loop polls file descriptors for a second at a time, and notices a signal only after that.
http://supervisord.org/configuration.html#rpcinterface-x-section-settings
"""

import signal
import socket

from supervisor.medusa import asyncore_25 as asyncore
from supervisor.supervisord import Supervisor


class Waker(asyncore.dispatcher):
    """A socket that supervisord's loop polls; Python writes to its other end at each signal."""

    def __init__(self) -> None:
        """Add it to the loop."""
        reader, self.writer = socket.socketpair()
        super().__init__(reader)
        self.writer.setblocking(False)
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)

    def writable(self) -> bool:
        """Return whether it has anything to write."""
        return False

    def handle_read(self) -> None:
        """Empty it; the loop has been woken up."""
        self.recv(4096)


def install(supervisord: Supervisor) -> object:
    """Wake up the loop at signals; return what has the extension's remote methods: none."""
    Waker()
    return object()
