"""The programs that stackctl runs inside containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.scripted.model import Container, Reply
from tools.stackctl.balancer import apache
from tools.stackctl.releases import surge

if TYPE_CHECKING:
    from tests.unit.scripted.engine import Engine


def execute(engine: Engine, container: Container, command: list[str], stdin: bytes) -> Reply:
    """Run a command in a container."""
    text = stdin.decode(errors="replace")
    match command:
        case ["perl", "-e", _, socket, _]:
            if engine.balancer.silent:
                return Reply(1, err=engine.balancer.silent)
            master = socket.endswith("master.sock")
            answer = engine.balancer.master if master else engine.balancer.command
            return Reply(out="".join(answer(line) for line in text.strip().split(";")))
        case ["perl", "-e", _, _]:
            if reply := engine.step("write state"):
                return reply
            engine.state_file = text
            return Reply()
        case ["perl", "-e", _]:
            asked = [line for line in text.splitlines() if line in engine.binds]
            return Reply(out="\n".join(f"{line} {engine.binds[line]}" for line in asked))
        case ["rm", "-f", _]:
            engine.state_file = ""
            return engine.step("remove state") or Reply()
        case [_, "haproxy", "-c", *options]:
            lines = [f"\tserver {name} {name}:7999 " for name in engine.balancer.names]
            dump = "frontend site\n\tbind :8080 name http\n" + "\n".join(
                line for b in ("dynamic", "static") for line in [f"backend {b}_backend ", *lines]
            )
            code = 2 if "-dC" in options else int("[ALERT]" in engine.configuration_error)
            return Reply(code, dump if "-dC" in options else "", engine.configuration_error)
        case ["python3", "-", mark, host, *paths]:
            engine.hosts.add(host)
            if reply := engine.step(f"ask {container.service}"):
                return reply
            answers = [engine.answer(container, path) for path in paths]
            result = [{"status": status, "body": body} for status, body in answers]
            return Reply(out=f"[]\n{mark}{json.dumps(result)}\n[]\n")
        case ["sh", "-c", script] if "/run/secrets" in script:
            return Reply()
        case ["sh", "-c", surge.MEMORY]:
            return Reply(out=engine.replicas.memory())
        case ["cat", "/proc/net/tcp"]:
            return Reply(out=engine.replicas.connections(container))
        case ["sh", "-c", surge.MARK_DRAINED]:
            return engine.step(f"mark {container.service} drained") or Reply()
        case [apache.MEMBER, server, *change] if container.service == "apache":
            engine.apache |= dict.fromkeys([server], *change) if change else {}
            busy = [end for end in engine.apache_requests if end > engine.clock.now]
            return Reply(out=f"{len(busy)}\n")
        case ["test", "-e", _]:
            return Reply(int(not container.stopping))
        case ["bash", "-c", _, script, *arguments]:
            return engine.data.server(script, arguments, stdin)
    pytest.fail(f"the scripted engine does not know: docker exec {container.service} {command}")
