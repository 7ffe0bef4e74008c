"""A scripted upstream server: the path of a request selects the response.

Runs in a container as `python upstream.py NAME [SOCKET]`, and prints the request lines.
"""

import re
import socket
import sys
import threading
import time
from pathlib import Path

NAME, *SOCKET = sys.argv[1:]
PORT = 7999
# Created by tests. Probes answer with the status in the first; those of pages after the seconds in
# the second.
DRAINS, DELAY = Path("/tmp/drains"), Path("/tmp/delay")
# HAProxy's probes: seconds since the machine's start, path and status.
PROBES = Path("/tmp/probes")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request, or the part that the client has sent."""
    request = b""
    while more := connection.recv(65536):
        request += more
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"\ncontent-length: *(\d+)", head.lower())
        chunked = b"transfer-encoding: chunked" in head.lower()
        whole = not chunked or re.search(rb"(^|\r\n)0\r\n(.+\r\n)*\r\n$", body)
        if end and whole and len(body) >= int(length[1] if length else 0):
            break
    return request


def answer(connection: socket.socket, request: bytes) -> None:
    """Answer depending on the path; send no response for other paths."""
    line = request.split(b"\r\n")[0].decode(errors="replace")
    if "/readyz" in line:
        status = DRAINS.read_bytes().strip() if DRAINS.exists() else b"200 OK"
        path = line.split()[1]
        # Apache forwards HAProxy's probes of Apache.
        if b"host: haproxy\r\n" in request.lower() and b"x-forwarded-for" not in request.lower():
            with PROBES.open("a") as file:
                file.write(f"{time.monotonic()} {path} {status.decode()}\n")
        if path == "/readyz" and DELAY.exists():
            time.sleep(float(DELAY.read_text()))
        connection.sendall(
            b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
        )
        return
    # One write, since other threads print too.
    print(f"{line}\n", end="", flush=True)
    if "/echo" in line:
        connection.sendall(OK % (len(request), request))
    if "/who" in line:
        connection.sendall(OK % (len(NAME), NAME.encode()))
    if "/moved" in line:
        to = b"http://server1:7999/elsewhere"
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to)
    if match := re.search(r"/headers/(\d+)/(\d+)", line):
        # So many headers, each so long.
        count, length = map(int, match.groups())
        headers = "".join(f"X-Long-{n}: {'x' * length}\r\n" for n in range(count)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % headers)
    if "/cut" in line:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    if "/hung" in line:
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    if match := re.search(r"/sleep/([\d.]+)", line):
        time.sleep(float(match[1]))
        connection.sendall(OK % (5, b"slept"))
    if "/never" in line:
        # Until the client gives up.
        connection.recv(1)


def serve(connection: socket.socket) -> None:
    """Answer one request of a connection, then close it."""
    with connection:
        try:
            if request := read_request(connection):
                answer(connection, request)
        except OSError:
            pass


def main() -> None:
    """Accept connections forever."""
    if SOCKET:
        server = socket.socket(socket.AF_UNIX)
        server.bind(SOCKET[0])
        server.listen(128)
    else:
        server = socket.create_server(("", PORT), backlog=128)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
