"""A debugger client, as in an editor: https://microsoft.github.io/debug-adapter-protocol/."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any


def stop_at_breakpoint(port: int, path: str, line: int, request: Callable[[], Any]) -> Any:
    """Set a breakpoint, assert that a request stops there, continue, and return its response."""
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        stream = stack.enter_context(connection.makefile("rwb"))

        def send(command: str, **arguments: object) -> None:
            message = {"seq": 1, "type": "request", "command": command, "arguments": arguments}
            body = json.dumps(message).encode()
            stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            stream.flush()

        def wait_for(name: str) -> Any:
            """Return the body of the next message with this name."""
            while True:
                length = int(stream.readline().partition(b":")[2])
                stream.readline()
                message = json.loads(stream.read(length))
                assert message.get("success", True), message
                if name in (message.get("event"), message.get("command")):
                    return message.get("body")

        send("initialize", adapterID="test")
        wait_for("initialize")
        send("attach", justMyCode=True)
        wait_for("initialized")
        send("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])
        wait_for("setBreakpoints")
        send("configurationDone")
        wait_for("configurationDone")
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(request)
            stopped = wait_for("stopped")
            assert stopped["reason"] == "breakpoint" and not answer.done()
            send("continue", threadId=stopped["threadId"])
            return answer.result(30)


def line_number(text: str, wanted: str) -> int:
    """Return the number of the first line that contains a text."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if wanted in line)
