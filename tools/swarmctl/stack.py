"""A Swarm stack from what `docker compose config` prints.

`docker stack deploy` reads an older form of Compose's files: what it does not know is left out, or
put in its words. https://docs.docker.com/engine/swarm/stack-deploy/
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Final

from ops.environment.secret_files import READERS
from tools.swarmctl.docker_secrets import CERTIFICATE, NAMES
from tools.swarmctl.engine import Json

# What runs in a swarm; services of one machine, such as env-check and server1, do not.
SERVICES: Final = ("server", "worker", "haproxy", "db", "redis", "broker", "migrate")
# A server of your own takes their place: the variables that name it.
OUTSIDE: Final = {
    "db": ("DB_HOST", "DATABASE_URL"),
    "redis": ("REDIS_HOST", "REDIS_URL"),
    "broker": ("BROKER_HOST", "CELERY_BROKER_URL"),
}
# Of a service, what a stack has in the same words.
COPIED_KEYS: Final = (
    *("image", "command", "entrypoint", "user", "hostname", "init", "read_only", "cap_add"),
    *("cap_drop", "healthcheck", "stop_grace_period", "logging"),
)
# The end of the name of a volume with copies of secrets: Docker's own secrets take its place.
COPIES: Final = "-secrets"
# The volume with HAProxy's certificate, where a secret takes its place too.
CERTIFICATES: Final = "certificates"
LOOPBACK: Final = "127.0.0.1"
# By IPv4 and, with HTTP_IPV6_ADDRESS, by IPv6.
EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104
# The label of machines that have the clone, whose files some services mount.
CLONE: Final = "node.labels.clone == true"


def stack_of(config: Json, image: str, secrets: Mapping[str, str]) -> Json:
    """Return the stack, as `docker stack deploy` reads it.

    Args:
        config: what `docker compose config --format json` prints.
        image: what runs in place of the image that Compose would build.
        secrets: the Docker secret of each variable that has one.
    """
    built = config["services"]["env-check"]["image"]
    services = {
        name: _service(config["services"][name], secrets) for name in selected(config, secrets)
    }
    for service in services.values():
        service["image"] = image if service["image"] == built else service["image"]
    volumes = {
        mount.get("source")
        for each in services.values()
        for mount in each["volumes"]
        if mount["type"] == "volume"
    }
    networks = {network for each in services.values() for network in each["networks"]}
    mounted = {item["source"] for each in services.values() for item in each["secrets"]}
    return {
        "services": services,
        "networks": {
            name: {"driver": "overlay", "internal": config["networks"][name].get("internal", False)}
            for name in sorted(networks)
        },
        "volumes": {name: {} for name in sorted(filter(None, volumes))},
        "secrets": {name: {"external": True} for name in sorted(mounted)},
    }


def selected(config: Json, secrets: Container[str]) -> list[str]:
    """Return the services that run in the swarm: no database or Redis, if one outside is set."""
    environment = config["services"]["server"]["environment"]
    outside = {
        name for name, (host, url) in OUTSIDE.items() if environment[host] != name or url in secrets
    }
    return [name for name in SERVICES if name in config["services"] and name not in outside]


def _service(given: Json, secrets: Mapping[str, str]) -> Json:
    mounts = given.get("volumes", [])
    service = {
        **{key: given[key] for key in COPIED_KEYS if given.get(key) is not None},
        "environment": {
            name: value
            for name, value in given.get("environment", {}).items()
            if value is not None and name not in NAMES
        },
        "volumes": [
            *(_mount(mount) for mount in mounts if not _is_secret(mount)),
            *(_tmpfs(text) for text in given.get("tmpfs", [])),
        ],
        "secrets": [secret for mount in mounts for secret in _secrets_in(mount, secrets)],
        "networks": list(given.get("networks", {})),
        "ports": [
            {"target": port["target"], "published": int(port["published"]), "mode": "host"}
            for port in given.get("ports", [])
            # Swarm publishes on every address, by IPv6 too.
            if port.get("host_ip") not in (LOOPBACK, "::")
        ],
        "deploy": {
            **given.get("deploy", {}),
            # A name has its containers' own addresses: HAProxy balances, the kernel needs no IPVS.
            "endpoint_mode": "dnsrr",
            "resources": {"limits": {"memory": given["mem_limit"], "pids": given["pids_limit"]}},
        },
    }
    if any(mount["type"] == "bind" for mount in mounts):
        service["deploy"]["placement"] = {"constraints": [CLONE]}
        # Swarm ends what is unhealthy. There is one of each, and a restart could make it worse.
        service["healthcheck"] = {"disable": True}
    return service


def _is_secret(mount: Json) -> bool:
    """Return whether secrets take the place of a volume."""
    source = mount.get("source", "")
    return mount["type"] == "volume" and (source.endswith(COPIES) or source == CERTIFICATES)


def _secrets_in(mount: Json, secrets: Mapping[str, str]) -> Iterator[Json]:
    """Yield the secrets that take the place of a volume."""
    if not _is_secret(mount):
        return
    if mount["source"] == CERTIFICATES:
        files = {CERTIFICATE: "/srv/certificates/site.pem"}
        user, _ = READERS["haproxy"]
    else:
        user, names = READERS[mount["source"].removesuffix(COPIES)]
        files = {name: name for name in sorted(names)}
    for name, target in files.items():
        if name in secrets:
            yield _secret(secrets[name], target, user)


def _secret(source: str, target: str, user: int) -> Json:
    return {"source": source, "target": target, "uid": f"{user}", "gid": f"{user}", "mode": 0o400}


def _mount(mount: Json) -> Json:
    return {key: mount[key] for key in ("type", "source", "target", "read_only") if key in mount}


def _tmpfs(text: str) -> Json:
    """Return the mount for a tmpfs.

    A stack's tmpfs has no owner but root. A folder that one user alone may write to is a volume
    without a name: it has the owner of the image's folder, and ends with the container.
    """
    target, _, listed = text.partition(":")
    options = dict(pair.split("=", 1) for pair in listed.split(","))
    if "uid" in options:
        return {"type": "volume", "target": target}
    return {
        "type": "tmpfs",
        "target": target,
        "tmpfs": {"size": int(options["size"].removesuffix("m")) << 20},
    }
