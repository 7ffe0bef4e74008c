"""The compose project: what it is made of, and the commands that change it.

Everything is read from `docker compose config`, so COMPOSE_FILE, COMPOSE_PROJECT_NAME and `.env`
count as they do for compose itself.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.environment.fault import InvalidValueError
from ops.environment.files import MOUNTED, content
from ops.environment.secret_files import CHANGED

from ..common import outputs, process
from ..common.faults import StackctlError
from . import engine
from .address import HTTP, HTTPS, OWN, Published, Site
from .unreadable import refused

# Prints the project as compose resolves it here.
CONFIG = ("docker", "compose", "config", "--format", "json")
# A line of `docker compose config --hash`.
HASH = re.compile(r"^(\S+) ([0-9a-f]{64})\s*$", re.MULTILINE)
# The services behind the load balancer, in the order of a deploy.
SERVER = re.compile(r"server\d+")
MIGRATE = "migrate"
ENV_CHECK = "env-check"
BALANCER = "haproxy"
APACHE = "apache"  # remove_apache
NGINX_BALANCER = "nginx-balancer"  # remove_nginx-balancer
PROXIES = (
    BALANCER,
    NGINX_BALANCER,  # remove_nginx-balancer
    APACHE,  # remove_apache
)
CERTIFICATES = "certificates"
DATABASE = "db"
REDIS = "redis"
# Of the services that run tasks, the stack's own.
WORKER = "worker"
# What servers and workers use over the network. A release leaves them alone.
BACKING = (DATABASE, REDIS, "broker")

# With the containerd image store (default since Docker 29) an image's id covers its attestation,
# which has the time of the build: https://docs.docker.com/build/metadata/attestations/
SAME_ID = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
BUILD_SECONDS = 1800.0
START_SECONDS = 300.0
MIGRATE_SECONDS = 7200.0
RECREATE_SECONDS = 180.0

Lines = Callable[[str], object]


@dataclass(frozen=True)
class Project:
    """One resolved compose project.

    Each method that runs docker raises StackctlError where the engine does not answer in time.
    """

    name: str
    layer: str
    # Secrets are among its values.
    model: Mapping[str, Any] = field(repr=False)

    @property
    def services(self) -> Mapping[str, Any]:
        """Return the services that would run, by name."""
        services: Mapping[str, Any] = self.model["services"]
        return services

    @property
    def servers(self) -> list[str]:
        """Return the servers behind the load balancer, in order; not one that is switched off."""
        servers = (
            name
            for name, service in self.services.items()
            if SERVER.fullmatch(name) and service.get("scale", 1) != 0
        )
        return sorted(servers, key=_natural)

    @property
    def image(self) -> str:
        """Return the name of the application's image, without a tag."""
        name: str = self.services[self.servers[0]]["image"]
        return name.removesuffix(":latest")

    @property
    def latest(self) -> str:
        """Return the name that compose starts the application by."""
        return f"{self.image}:latest"

    @property
    def workers(self) -> list[str]:
        """Return the long-running services of the application's image that are no servers."""
        apart = {*self.servers, MIGRATE, ENV_CHECK}
        return [
            name
            for name, service in self.services.items()
            if name not in apart
            and str(service.get("image", "")).removesuffix(":latest") == self.image
            and service.get("scale", 1) != 0
        ]

    @property
    def backing(self) -> list[str]:
        """Return the database, cache and broker that are this stack's own."""
        return [name for name in BACKING if self.services.get(name, {"scale": 0}).get("scale") != 0]

    def environment(self, service: str) -> dict[str, str]:
        """Return what a service's containers are given, as compose resolved it.

        Nothing of one whose profile is not chosen.
        """
        given = self.services.get(service, {}).get("environment") or {}
        # `$$` is compose's way of writing a dollar.
        return {name: str(text).replace("$$", "$") for name, text in given.items() if text}

    def secret(self, variable: str) -> str:
        """Return what the application gets for a secret; empty where only root can read it."""
        path = self.secret_file(variable)
        if not path:
            return self.environment(self.servers[0]).get(variable, "")
        try:
            return content(Path(path))
        except InvalidValueError:
            return ""

    def secret_file(self, variable: str) -> str:
        """Return the file of this machine that has a secret; nothing where none has."""
        for mount in self.services.get(ENV_CHECK, {}).get("volumes") or ():
            if mount.get("target") == str(MOUNTED / variable) and mount["source"] != os.devnull:
                return str(mount["source"])
        return ""

    def ports(self) -> list[Published]:
        """Return what the services that would run publish on this machine."""
        return [
            Published(
                service,
                port.get("host_ip") or "0.0.0.0",  # noqa: S104 (its default)
                int(port["published"]),
                int(port["target"]),
            )
            for service, described in self.services.items()
            for port in described.get("ports") or ()
            if str(port.get("published", "")).isdecimal()
        ]

    @property
    def tls(self) -> bool:
        """Return whether a certificate is given, so that the balancer serves TLS."""
        return CERTIFICATES in self.services and bool(
            self.environment(CERTIFICATES).get("TLS_CERTIFICATE")
        )

    def site(self) -> Site:
        """Return the address at which this machine requests the site, with TLS if it is set up.

        Raises:
            StackctlError: the load balancer publishes no port for it.
        """
        target = HTTPS if self.tls else HTTP
        for port in self.services[BALANCER].get("ports") or ():
            if port["target"] == target:
                address = port.get("host_ip", "").strip("[]")
                proxied = self.environment(BALANCER).get("PROXY_PROTOCOL") == "1"
                return Site(OWN.get(address, address), int(port["published"]), self.tls, proxied)
        raise StackctlError(
            "the load balancer publishes no port for the site",
            f"docker-compose.{self.layer}.yaml gives it one; HTTP_PORT (with TLS HTTPS_PORT) is "
            "its number.",
        )

    def containers(self) -> dict[str, engine.Container]:
        """Return the containers that exist, by service; of several the oldest one that runs."""
        return {service: oldest_running(several) for service, several in self.replicas().items()}

    def replicas(self) -> dict[str, list[engine.Container]]:
        """Return all containers that exist, by service, the oldest first."""
        by_service: dict[str, list[engine.Container]] = {}
        # The engine lists the newest first.
        for container in reversed(engine.containers(self.name)):
            by_service.setdefault(container.service, []).append(container)
        return by_service

    def networks(self, service: str) -> frozenset[str]:
        """Return the names of the networks that a service's containers are in."""
        declared = self.model.get("networks") or {}
        named = self.services.get(service, {}).get("networks") or ()
        return frozenset(declared[name]["name"] for name in named if name in declared)

    def step_before_recreating(
        self, service: str, containers: Mapping[str, engine.Container]
    ) -> str:
        """Return what comes before a service is recreated, or nothing.

        A proxy in a network that the servers are not in yet would reach none of them.
        """
        servers = [containers[name] for name in self.servers if name in containers]
        shared = self.networks(service) & self.networks(self.servers[0])
        early = any(shared - server.networks for server in servers)
        return "./stackctl deploy first, then " if service in PROXIES and early else ""

    def config_hash(self, service: str) -> str:
        """Return compose's own fingerprint of a service, which its containers carry as a label."""
        return self.config_hashes(service).get(service, "")

    def config_hashes(self, services: str = "*") -> dict[str, str]:
        """Return the fingerprints of all services, those of inactive profiles too.

        Raises:
            StackctlError: compose does not give them.
        """
        text = engine.docker("compose", "--profile", "*", "config", "--hash", services)
        return {match[1]: match[2] for match in HASH.finditer(text)}

    def copies(self) -> dict[str, int]:
        """Return the services that have more than one container, each with how many it has."""
        count = Counter(container.service for container in engine.containers(self.name))
        return {service: number for service, number in count.items() if number > 1}

    def running(self, image: str) -> list[str]:
        """Return the servers and workers that run this image with the present configuration."""
        containers, hashes = self.containers(), self.config_hashes()
        return [
            service
            for service in (*self.servers, *self.workers)
            if service in containers
            and containers[service].running
            and containers[service].image == image
            and containers[service].config_hash == hashes.get(service, "")
        ]

    def build(
        self,
        image: str,
        release: str,
        on_line: Lines,
        cut_short: Callable[[], bool],
        *,
        fresh: bool = False,
    ) -> str:
        """Build the application's image under the name `image`; compose's own name stays.

        With `fresh`, each step runs again: Debian's packages are the newest.

        Returns its id, which is the same if nothing has changed.

        Raises:
            StackctlError: the build failed; its last lines come along.
        """
        result = process.follow(
            *self._renamed(),
            *("--progress", "plain", "build", *(["--no-cache"] if fresh else []), ENV_CHECK),
            environ=SAME_ID,
            stdin=json.dumps(self._with_image(image, release)),
            on_line=on_line,
            seconds=BUILD_SECONDS,
            cut_short=cut_short,
        )
        if not result.ok and not cut_short():
            raise StackctlError(
                "the image cannot be built; nothing was changed",
                "The build's last lines are above.",
                output="\n".join(result.out.splitlines()[-30:]),
            )
        return engine.image_id(image)

    def check_environment(self, image: str) -> bool:
        """Check the variables as the image does, which also copies the secrets that are in files.

        Returns whether one of those changed.

        Raises:
            StackctlError: there are faults.
        """
        command = ("run", "--rm", "--no-deps", "-T", ENV_CHECK)
        model = json.dumps(self._with_image(image, ""))
        result = process.run(
            *self._renamed(), "--progress", "quiet", *command, stdin=model, seconds=START_SECONDS
        )
        if not result.ok:
            raise StackctlError(
                f"{ENV_CHECK} refuses the environment; nothing was changed", result.err.strip()
            )
        return CHANGED in result.out

    def migrate(self, image: str, *, on_line: Lines) -> process.Result:
        """Migrate in a new container of an image, next to the stack."""
        return process.follow(
            *self._once(),
            stdin=json.dumps(self._with_image(image, "")),
            on_line=on_line,
            seconds=MIGRATE_SECONDS,
        )

    def ask(self, image: str, *command: str, seconds: float) -> process.Result:
        """Run a command as migrate is run; what it prints as its answer is apart from the rest.

        Args:
            image: the application's image.
            command: the program and its arguments.
            seconds: how long it may take.

        Raises:
            StackctlError: it cannot be started, or takes too long.
        """
        model = json.dumps(self._with_image(image, ""))
        return process.run(*self._once(), *command, stdin=model, seconds=seconds)

    def _once(self) -> tuple[str, ...]:
        run = ("--progress", "quiet", "run", "--rm", "--no-deps", "-T", MIGRATE)
        return (*self._renamed(), *run)

    @property
    def recreate_seconds(self) -> float:
        """Return how many seconds a service may take to stop and to be created.

        A service's limits for its stop are in docker-compose.yaml.
        """
        longest = max((one.stop_seconds for one in self.containers().values()), default=0.0)
        return RECREATE_SECONDS + longest

    def recreate(self, service: str) -> process.Result:
        """Recreate a service's container from the image that `latest` names now.

        Also one that would stay the same: for a forced release and for a rollback.
        """
        return process.run(
            *("docker", "compose", "--progress", "plain", "up", "--detach"),
            *("--no-deps", "--no-build", "--force-recreate", service),
            seconds=self.recreate_seconds,
        )

    def start_another(self, services: Collection[str]) -> process.Result:
        """Start one more container of each service, from the image that `latest` names now."""
        return process.run(
            *("docker", "compose", "--progress", "plain", "up", "--detach"),
            *("--no-deps", "--no-build", "--no-recreate"),
            *(part for service in services for part in ("--scale", f"{service}=2")),
            *services,
            seconds=RECREATE_SECONDS,
        )

    def up(self, on_line: Lines, *services: str, recreate: bool = True) -> process.Result:
        """Start what is not running, from the images that exist, and wait for health.

        With `recreate` containers of another image or configuration are recreated, all at once.
        Without `services` those of parts that a variable has turned off are removed.
        """
        return process.follow(
            *("docker", "compose", "--progress", "plain", "up", "--detach", "--no-build"),
            *([] if recreate else ["--no-recreate"]),
            *([] if services else ["--remove-orphans"]),
            *("--wait", "--wait-timeout", f"{START_SECONDS:.0f}", *services),
            on_line=on_line,
            seconds=START_SECONDS + self.recreate_seconds,
        )

    def down(self, on_line: Lines, *, volumes: bool) -> process.Result:
        """Stop and remove the containers; the data only with `volumes`."""
        return process.follow(
            *("docker", "compose", "--progress", "plain", "down", "--remove-orphans"),
            *(["--volumes"] if volumes else []),
            on_line=on_line,
            seconds=START_SECONDS + self.recreate_seconds,
        )

    def once(self, *command: str) -> tuple[str, ...]:
        """Return the command that runs `command` next to a server, with its volumes; pipes work."""
        return (
            *("docker", "compose", "--progress", "quiet", "run", "--rm", "--no-deps", "-T"),
            *(self.servers[0], *command),
        )

    def _renamed(self) -> tuple[str, ...]:
        """Return the head of a command that reads the project from standard input."""
        root = str(process.ROOT)
        return (
            *("docker", "compose", "--project-name", self.name),
            *("--project-directory", root, "--file", "-"),
        )

    def _with_image(self, image: str, release: str) -> dict[str, Any]:
        """Return the project with another application image; files and image names stay as is."""
        model: dict[str, Any] = json.loads(json.dumps(self.model))
        for service in model["services"].values():
            if str(service.get("image", "")).removesuffix(":latest") == self.image:
                service["image"] = image
                if release and "build" in service:
                    service["build"].setdefault("args", {})["RELEASE"] = release
        return model


def oldest_running(several: Sequence[engine.Container]) -> engine.Container:
    """Return the first container that runs, or the first one, of one service."""
    return next((one for one in several if one.running), several[0])


def recreate_command(service: str) -> str:
    """Return the command that recreates a container with the present configuration."""
    return f"docker compose up --detach --no-deps {service}"


def load(layer: str) -> Project:
    """Return the project as compose resolves it here.

    Raises:
        StackctlError: compose refuses its files or variables.
    """
    return read(layer, process.run(*CONFIG))


def read(layer: str, result: process.Result) -> Project:
    """Return the project that CONFIG printed.

    Raises:
        StackctlError: compose refuses its files or variables.
    """
    if not result.ok:
        raise refused(result.err.strip())
    with outputs.read("docker compose config --format json"):
        model = outputs.mapping(result.out)
        project = Project(name=model["name"], layer=layer, model=model)
        # What every command needs.
        _ = project.image, project.services[BALANCER], project.ports()
    return project


def _natural(name: str) -> tuple[int, str]:
    return int(re.sub(r"\D", "", name) or 0), name
