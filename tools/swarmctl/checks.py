"""What Swarm itself would report late, or not at all."""

from __future__ import annotations

from collections.abc import Container

from tools.swarmctl.docker_secrets import NAMES
from tools.swarmctl.engine import Json, SwarmctlError, docker, inspected
from tools.swarmctl.stack import CLONE, LOOPBACK, selected


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
        f"{name} is not set (required in production). Set it in .env, or run "
        "`./manage.py env init --layer production`, which writes one"
        for name in _samples(config, given)
    ]
    label, _, value = CLONE.removeprefix("node.labels.").partition(" == ")
    clones = [node for node in nodes if node["Spec"]["Labels"].get(label) == value]
    if len(clones) != 1:
        faults.append(
            f"{len(clones)} machines have the label {label}={value}. One has to: "
            "HAProxy mounts files of the clone, and the database keeps its data there. "
            "Label this one: "
            f"docker node update --label-add {label}={value} "
            "$(docker info --format '{{.Swarm.NodeID}}')"
        )
    environment = config["services"]["server"]["environment"]
    if len(nodes) > 1 and not environment.get("AWS_STORAGE_BUCKET_NAME"):
        faults.append(
            f"The swarm has {len(nodes)} machines, and each would keep the uploads that it "
            "received. Set AWS_STORAGE_BUCKET_NAME (docs/s3.md)"
        )
    addresses = {port.get("host_ip") for port in config["services"]["haproxy"]["ports"]}
    if addresses - {"0.0.0.0", LOOPBACK}:  # noqa: S104
        faults.append(
            "HTTP_ADDRESS is set, and Swarm publishes ports on every address. Take it out of .env"
        )
    if faults:
        raise SwarmctlError("not deployed:\n" + "\n".join(f"- {fault}" for fault in faults))


def _samples(config: Json, given: Container[str]) -> list[str]:
    """Return the secrets that HAProxy, the database and others need, and .env does not set.

    The application checks its own, in the service migrate.
    """
    return sorted(
        {
            name
            for service in selected(config, given)
            if service not in ("server", "worker", "migrate")
            for name, value in config["services"][service]["environment"].items()
            if name in NAMES and value and name not in given
        }
    )


def nodes_of_the_swarm() -> list[Json]:
    """Return the machines that run containers.

    Raises:
        SwarmctlError: this machine manages no swarm.
    """
    if docker("info", "--format", "{{.Swarm.ControlAvailable}}").strip() != "true":
        raise SwarmctlError(
            "This machine manages no swarm. Run: docker swarm init --advertise-addr ADDRESS"
        )
    nodes = inspected("node", *docker("node", "ls", "--quiet").split())
    return [node for node in nodes if node["Spec"]["Availability"] == "active"]
