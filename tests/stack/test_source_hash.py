"""HAPROXY_BALANCE=source: which server a client has, and keeps when another one goes."""

import json
from pathlib import Path

from tests.stack.bench import Bench, container, start_upstream
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_trusted_proxies import haproxy
from tests.waiting import eventually

CLIENTS = [f"127.0.{number}.1" for number in range(1, 31)]
# Prints which servers answered each client: a page, a slow one, a form, a file and a long body.
REQUEST_FROM_CLIENTS = """
import http.client, json, sys

def answer(client, method, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", 8080, source_address=(client, 0))
    connection.request(method, path, body, {"Host": "localhost"})
    return connection.getresponse().read().decode()

requests = [("GET", "/who", None), ("POST", "/who", b"a=b"), ("GET", "/static/who", None)]
requests += [("GET", "/slow/who", None), ("POST", "/who", bytes(40_000))]
print(json.dumps({c: sorted({answer(c, *one) for one in requests}) for c in sys.argv[1:]}))
"""


def servers_of_clients(balancer: str) -> dict[str, list[str]]:
    """Return the servers that answer each client."""
    answers = docker(
        *("run", "--rm", "--network", f"container:{container(balancer)}"),
        *("--entrypoint", "python3", f"{STACK_NAME}-base", "-c", REQUEST_FROM_CLIENTS, *CLIENTS),
    )
    servers: dict[str, list[str]] = json.loads(answers)
    return servers


def test_source_hash_moves_only_the_clients_of_a_server_that_goes(bench: Bench, tree: Path) -> None:
    """Of three servers: of two, all clients of the one that goes have the other anyway."""
    start_upstream(tree, "server3")
    try:
        variables = {"HAPROXY_BALANCE": "source", "SERVER_COUNT": "3", "SLOW_PATHS": "/slow/"}
        with haproxy("by-source", tree, **variables):
            before = servers_of_clients("by-source")
            assert {len(names) for names in before.values()} == {1}, before
            assert {names[0] for names in before.values()} == {"server1", "server2", "server3"}

            bench.exec("server3", "sh", "-c", "echo 404 Not Found >/tmp/drains")
            after: dict[str, list[str]] = {}

            def is_drained() -> bool:
                after.update(servers_of_clients("by-source"))
                return not any("server3" in names for names in after.values())

            eventually(is_drained, seconds=20, what="HAProxy drains server3")
    finally:
        docker("rm", "--force", "--volumes", container("server3"))

    kept = {client: names for client, names in before.items() if names != ["server3"]}
    assert {client: after[client] for client in kept} == kept
    assert {len(names) for names in after.values()} == {1}, after
