"""What Swarm itself would report late, or not at all."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from tools.swarmctl.docker_secrets import NAMES
from tools.swarmctl.engine import Json, SwarmctlError
from tools.swarmctl.stack import CLONE, EVERY_ADDRESS, LOOPBACK, selected

# Machines, and servers on them, of which one machine may end with all.
TWO: Final = 2


def check(config: Json, nodes: list[Json], given: Container[str]) -> None:
    """Check the swarm and the variables.

    Args:
        config: what `docker compose config --format json` prints.
        nodes: the machines of the swarm.
        given: the secrets that there are.

    Raises:
        SwarmctlError: with every fault, and its remedy.
    """
    faults = [
        *_unset_secrets(config, given),
        *_label(nodes),
        *_uploads(config, nodes),
        *_servers(config, nodes),
        *_addresses(config),
    ]
    if faults:
        raise SwarmctlError("not deployed:\n" + "\n".join(f"- {fault}" for fault in faults))


def _unset_secrets(config: Json, given: Container[str]) -> Iterator[str]:
    """Yield the secrets that HAProxy, the database and others need, and .env does not set.

    The application checks its own, in the service migrate.
    """
    names = {
        name
        for service in selected(config, given)
        if service not in ("server", "worker", "migrate")
        for name, value in config["services"][service]["environment"].items()
        if name in NAMES and value and name not in given
    }
    for name in sorted(names):
        yield (
            f"{name} is not set (required in production). Set it in .env, or run "
            "`./manage.py env init --layer production`, which writes one"
        )


def _label(nodes: list[Json]) -> Iterator[str]:
    label, _, value = CLONE.removeprefix("node.labels.").partition(" == ")
    clones = [node for node in nodes if node["Spec"]["Labels"].get(label) == value]
    if len(clones) != 1:
        yield (
            f"{len(clones)} machines have the label {label}={value}. One has to: "
            "HAProxy mounts files of the clone, and the database keeps its data there. "
            "Label this one: "
            f"docker node update --label-add {label}={value} "
            "$(docker info --format '{{.Swarm.NodeID}}')"
        )


def _uploads(config: Json, nodes: list[Json]) -> Iterator[str]:
    bucket = config["services"]["server"]["environment"].get("AWS_STORAGE_BUCKET_NAME")
    if len(nodes) > 1 and not bucket:
        yield (
            f"The swarm has {len(nodes)} machines, and each would keep the uploads that it "
            "received. Set AWS_STORAGE_BUCKET_NAME (docs/s3.md)"
        )


def _servers(config: Json, nodes: list[Json]) -> Iterator[str]:
    """Yield a fault if a deploy to two machines may leave every server on one of them.

    The next server starts first: with one on each, it may be the second one of its machine when
    the server of the other machine stops. An empty third machine would get it.
    """
    count = int(config["services"]["server"]["deploy"]["replicas"])
    if len(nodes) == TWO and count <= TWO:
        yield (
            f"SERVER_COUNT is {count}, and the swarm has two machines: after a deploy all servers "
            "may run on one, and its loss stops the site. Set SERVER_COUNT=3, which keeps a server "
            "on each"
        )


def _addresses(config: Json) -> Iterator[str]:
    addresses = {port.get("host_ip") for port in config["services"]["haproxy"]["ports"]}
    if addresses - {*EVERY_ADDRESS, LOOPBACK}:
        yield (
            "HTTP_ADDRESS or HTTP_IPV6_ADDRESS names one address, and Swarm publishes ports on "
            "every address. Remove it from .env"
        )
