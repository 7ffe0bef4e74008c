"""How many connections wait at a listening unix socket, as the kernel counts them.

https://man7.org/linux/man-pages/man7/sock_diag.7.html
"""

import socket
import struct
from collections.abc import Iterator

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
# REQUEST and DUMP: all sockets that fit.
FLAGS = 0x1 | 0x300
LISTENING = 1 << 10
SHOW_NAME, SHOW_QUEUES = 0x1, 0x10
NO_COOKIE = 0xFFFFFFFF
# Kinds of messages: the end of the answer, by an error or because it is whole.
ENDS = (2, 3)
NAME, QUEUES = 0, 4

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBHIIIII")
UNIX_SOCKET = struct.Struct("=BBBBIII")
ATTRIBUTE = struct.Struct("=HH")
TIMEOUT_SECONDS = 1


def queue_length(path: str) -> tuple[int, int] | None:
    """Return a socket's queue length and its limit; None where the kernel does not report them."""
    try:
        for attributes in listening():
            if attributes.get(NAME, b"").rstrip(b"\0") == path.encode():
                waiting, limit = struct.unpack_from("=II", attributes[QUEUES])
                return waiting, limit
    except (OSError, AttributeError, KeyError, struct.error):
        # Another kernel, or one that keeps containers from asking.
        return None
    return None


def listening() -> Iterator[dict[int, bytes]]:
    """Yield the attributes of each listening unix socket of this container."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(TIMEOUT_SECONDS)
        body = REQUEST.pack(
            socket.AF_UNIX, 0, 0, LISTENING, 0, SHOW_NAME | SHOW_QUEUES, NO_COOKIE, NO_COOKIE
        )
        size = HEADER.size + len(body)
        kernel.sendto(HEADER.pack(size, SOCK_DIAG_BY_FAMILY, FLAGS, 1, 0) + body, (0, 0))
        while True:
            answer = kernel.recv(65536)
            while answer:
                length, kind, *_ = HEADER.unpack_from(answer)
                if kind in ENDS:
                    return
                yield dict(attributes_of(answer[HEADER.size + UNIX_SOCKET.size : length]))
                answer = answer[aligned(length) :]


def attributes_of(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each attribute of a socket, its kind and its value."""
    while len(text) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(text)
        if length < ATTRIBUTE.size:
            return
        yield kind, text[ATTRIBUTE.size : length]
        text = text[aligned(length) :]


def aligned(length: int) -> int:
    """Return where the part after one of `length` bytes begins: at a multiple of four."""
    return (length + 3) & ~3
