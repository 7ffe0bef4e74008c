"""A fake Docker engine with images, containers and volumes, and Compose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted import inside
from tests.unit.scripted.balancer import Balancer, profile
from tests.unit.scripted.client import COMPOSE, DOWN, UP, RefusedError
from tests.unit.scripted.clock import Clock
from tests.unit.scripted.data import Data
from tests.unit.scripted.model import Behaviour, Container, Reply, hash_of
from tests.unit.scripted.project import IMAGE, NAME, project
from tests.unit.scripted.replicas import Replicas
from tests.unit.scripted.restic import Places
from tests.unit.scripted.volume import PROJECT_LABEL, LockVolume

# Formats of `docker inspect`: the last end of a container, and the environment of an image.
ENDED = "{{if .RestartCount}}{{.State.FinishedAt}}{{end}}"
IMAGE_ENV = "{{range .Config.Env}}{{println .}}{{end}}"
APPLICATION = ("server1", "server2", "worker")


class Engine(LockVolume):
    """The engine, and the programs that stackctl starts."""

    def __init__(self, root: Path, clock: Clock, port: int) -> None:
        """Create a stack that has run release `aaaa` for an hour."""
        super().__init__(root)
        self.root, self.clock, self.port = root, clock, port
        self.data = Data(self)
        self.replicas = Replicas(self)
        self.places = Places(self)
        self.balancer = Balancer(self)
        # The variables that the latest program got on top of stackctl's own.
        self.environ: dict[str, str] = {}
        # All calls, and the changes as text.
        self.calls: list[str] = []
        self.steps: list[str] = []
        # Replaces a step, or runs before it when it returns None.
        self.faults: dict[str, Callable[[], Reply | None]] = {}
        # How long a step takes, in seconds.
        self.takes: dict[str, float] = {}
        # Called before each step and each program, with its number.
        self.at_step: Callable[[int], None] = lambda _: None
        self.before: Callable[[int], Reply | None] = lambda _: None
        self.commit = "aaaa"
        self.images: dict[str, str] = {}
        # The images that can be pulled, by digest.
        self.registry: dict[str, str] = {}
        self.behaviours: dict[tuple[str, str], Behaviour] = {}
        self.extra: dict[str, dict[str, Any]] = {}
        # The Host headers of the requests to servers and the site.
        self.hosts: set[str] = set()
        self.state_file = ""
        # The stop timeout of the latest restart.
        self.grace: list[str] = []
        self.configuration_error = ""
        # The container that saves the files in another place, while it runs.
        self.saving = ""
        # Why HAProxy cannot listen at an address and port.
        self.binds: dict[str, str] = {}
        # The error of compose; the output of `docker info`; ports of other stacks.
        self.configuration_fault = ""
        self.info = {"ServerVersion": "28.1.0"}
        self.publishes: dict[int, str] = {}
        # The results of the services `env-check` and `certificates`.
        self.environment_check = Reply()
        self.certificate = Reply(out="right until 2031\n")
        # The state of each server in Apache, and when its requests end.
        self.apache: dict[str, str] = {}
        self.apache_requests: list[float] = []
        self.containers: dict[str, Container] = {}
        self._ids = 0
        self.build("aaaa")
        self.images[f"{IMAGE}:latest"] = "sha256:aaaa"
        for service in self.model()["services"]:
            if service not in ("migrate", "env-check"):
                self.create(service).started -= 3600

    # -- the model ----------------------------------------------------------------------------

    def model(self) -> dict[str, Any]:
        """Return the project as `docker compose config` prints it, with `.env` as it is now."""
        return project(self.root, self.port, self.extra)

    def create(self, service: str) -> Container:
        """Create the container of a service, and replace an existing one."""
        described = self.model()["services"][service]
        self._ids += 1
        image = described["image"]
        identity = self.images.get(f"{image}:latest", image)
        environ = {name: str(text) for name, text in described.get("environment", {}).items()}
        if image == IMAGE:
            environ |= {"RELEASE": identity.removeprefix("sha256:"), "DRAIN_FILE": "/run/drain"}
        ports = described.get("ports") or [{"published": 0}]
        made = Container(
            *(f"{service}-{self._ids:08d}", service, identity, environ, hash_of(described)),
            *(f"10.0.0.{self._ids % 250}", self.clock.now, int(ports[0]["published"])),
            name=f"{NAME}-{service}-{len(self.replicas.of_service(service)) + 1}",
        )
        self.containers[service] = made
        if self.behaviour(made).ends:
            made.restarts, made.health = 1, "starting"
        return made

    def behave(self, name: str, service: str = "", /, **facts: Any) -> None:
        """Set the behaviour of containers of a release, or of one service."""
        self.behaviours[name, service] = Behaviour(**facts)

    def behaviour(self, container: Container) -> Behaviour:
        """Return the behaviour of a container."""
        release = container.environ.get("RELEASE", "")
        for key in ((release, container.service), (release, "")):
            if key in self.behaviours:
                return self.behaviours[key]
        return Behaviour()

    def running(self, service: str) -> Container | None:
        """Return the container of a service if it runs."""
        result = self.containers.get(service)
        return result if result is not None and result.status == "running" else None

    def releases(self) -> dict[str, str]:
        """Return the release of each server and worker."""
        return {
            name: self.containers[name].environ["RELEASE"]
            for name in APPLICATION
            if name in self.containers
        }

    def answer(self, container: Container, path: str) -> tuple[int, str]:
        """Return the response of a server."""
        behaviour = self.behaviour(container)
        if path in behaviour.answers:
            return behaviour.answers[path]
        if path == "/profile/":
            release = behaviour.release or container.environ["RELEASE"]
            return 200, profile(container.environ["PROFILE"], release)
        return 200, "{}"

    def step(self, name: str) -> Reply | None:
        """Record a change; return its failure if a test sets one."""
        self.steps.append(name)
        self.at_step(len(self.steps) - 1)
        self.clock.now += self.takes.get(name, 0.0)
        fault = self.faults.get(name)
        return fault() if fault else None

    def build(self, release: str) -> None:
        """Add the image of a release as the newest."""
        self.images = {f"{IMAGE}:{release}": f"sha256:{release}", **self.images}

    def by_id(self, identity: str) -> Container | None:
        """Return a container by its id."""
        return next((c for c in self.all() if c.id == identity), None)

    def all(self) -> list[Container]:
        """Return all containers, as the engine lists them: the newest first."""
        return [*reversed(self.replicas.others), *reversed(self.containers.values())]

    def latest(self) -> str:
        """Return the release that Compose would start."""
        return self.images[f"{IMAGE}:latest"].removeprefix("sha256:")

    # -- the programs -------------------------------------------------------------------------

    def call(self, argv: tuple[str, ...], stdin: bytes = b"") -> Reply:
        """Run a program."""
        self.calls.append(" ".join(argv)[:200])
        if reply := self.before(len(self.calls)):
            return reply
        match argv:
            case ["git", "rev-parse", *_]:
                return Reply(out=f"{self.commit}\n")
            case ["git", *_]:
                return Reply()
            case ["docker", "compose", *rest]:
                return self.compose(rest, stdin)
            case ["docker", "exec", "-i", identity, *command]:
                result = self.by_id(identity)
                if identity == f"{NAME}-stackctl":
                    return self.store(command[4], stdin.decode())
                if result is None or result.status != "running":
                    return Reply(
                        1, err=f"Error response from daemon: No such container: {identity}"
                    )
                return inside.execute(self, result, command, stdin)
            case ["docker", *rest]:
                return self.docker(rest, stdin)
        pytest.fail(f"the scripted engine does not know: {argv}")

    def docker(self, argv: list[str], stdin: bytes) -> Reply:
        """Answer the docker client."""
        if reply := self.replicas.docker(argv) or self.places.docker(argv, stdin):
            return reply
        match argv:
            case ["info", "--format", "{{json .}}"]:
                return Reply(out=json.dumps(self.info))
            case ["ps", "--filter", rule, "--format", "{{.Names}}"] if rule.startswith("name="):
                return Reply(out=self.saving)
            case ["ps", "--filter", rule, "--format", "{{.Names}}"]:
                return Reply(out=self.publishes.get(int(rule.removeprefix("publish=")), ""))
            case ["buildx", "version"]:
                return Reply(out="github.com/docker/buildx v0.29.1 x")
            case ["ps", "--quiet", "--no-trunc", *everything, _, project, _, once] if (
                everything in ([], ["--all"])
                and project == f"label={PROJECT_LABEL}"
                and once == "label=com.docker.compose.oneoff=False"
            ):
                result = [c for c in self.all() if everything or c.status == "running"]
                return Reply(out="\n".join(c.id for c in result))
            case ["ps", *options]:
                return self.listed(options)
            case ["container", "inspect", *identities]:
                known = [c for c in map(self.by_id, identities) if c is not None]
                gone = [f"No such container: {i}" for i in identities if self.by_id(i) is None]
                out = json.dumps([self.inspected(c) for c in known])
                return Reply(int(bool(gone)), out, "\n".join(f"Error: {text}" for text in gone))
            case ["inspect", "--format", "{{.State.ExitCode}}", identity]:
                one = self.by_id(identity)
                return Reply(out=f"{one.exit_code}\n") if one else Reply(1, err="no such object")
            case ["inspect", "--format", form, identity] if form == ENDED:
                one = self.by_id(identity)
                return Reply(out=f"{one.finished if one and one.restarts else ''}\n")
            case ["logs", "--tail", count, *until, identity] if until[:1] in ([], ["--until"]):
                one = self.by_id(identity)
                lines = self.behaviour(one).log.splitlines() if one else []
                # Later lines belong to its next start.
                lines = lines[: lines.index(until[1])] if until and until[1] in lines else lines
                return Reply(out="\n".join(lines[-int(count) :]))
            case ["image", "inspect", "--format", form, name] if form in ("{{.Id}}", IMAGE_ENV):
                image = self.images.get(name, name if name in self.images.values() else "")
                if not image:
                    return Reply(1, err=f"Error: No such image: {name}")
                return Reply(
                    out=f"PATH=/bin\nRELEASE={image[7:]}\n" if form == IMAGE_ENV else image
                )
            case ["pull", reference]:
                if reply := self.step(f"pull {reference.partition('@')[0]}"):
                    return reply
                self.images[reference] = self.registry[reference]
                return Reply(out="Digest: ...\n")
            case ["image", "ls", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", repository]:
                lines = [
                    f"{name.partition(':')[2]} {image}"
                    for name, image in self.images.items()
                    if name.startswith(f"{repository}:")
                ]
                return Reply(out="\n".join(lines))
            case ["image", "tag", image, name]:
                if reply := self.step(f"name {image[7:]} {name.partition(':')[2]}"):
                    return reply
                self.images[name] = image
                return Reply()
            case ["image", "rm", name]:
                if reply := self.step(f"remove image {name.partition(':')[2]}"):
                    return reply
                return Reply(0 if self.images.pop(name, "") else 1)
            case ["events", "--since", since, "--until", until, "--filter", which, *form] if (
                form == ["--filter", "event=stop", "--format", "{{.Action}}"]
            ):
                one = self.by_id(which.removeprefix("container="))
                seen = one and one.stopped and since == one.finished and until.endswith("Z")
                return Reply(out="stop\n" if seen else "")
            case ["start", identity]:
                return self.revive("start", identity)
            case ["restart", *grace, identity] if grace[:1] in ([], ["-t"]):
                self.grace = grace[1:]
                return self.revive("restart", identity)
            case ["volume", "inspect", name]:
                return Reply(int(name not in self.volumes))
            case ["volume", "create", *options]:
                return self.create_volume(options)
            case ["volume", "rm", name]:
                self.step(f"remove the volume {name}")
                self.volumes.pop(name, None)
                return Reply()
            case ["rm", name]:
                return self.step("remove the lock") or Reply()
            case ["run", *options]:
                return self.run_alone(options, stdin)
        pytest.fail(f"the scripted engine does not know: docker {argv}")

    def revive(self, verb: str, identity: str) -> Reply:
        """Start a container that ended, or restart one."""
        result = self.by_id(identity)
        assert result is not None
        if reply := self.step(f"{verb} {result.service}"):
            return reply
        result.status, result.health, result.started = "running", "", self.clock.now
        if self.behaviour(result).ends:
            self.end(result.service, 1)
        return Reply()

    def end(self, service: str, exit_code: int = 137, **facts: Any) -> None:
        """End a container, as with `docker kill`."""
        result = self.containers[service]
        facts |= {"status": "exited", "exit_code": exit_code, "finished": f"{self.clock.now:.1f}"}
        for name, fact in facts.items():
            setattr(result, name, fact)

    def inspected(self, container: Container) -> dict[str, Any]:
        """Return a container in the format of `docker inspect`."""
        health = container.health_at(self.clock.now, self.behaviour(container))
        address = container.address if container.status == "running" else ""
        networks = {f"{NAME}_backend": {"IPAddress": address}}
        labels = {"service": container.service, "config-hash": container.hash}
        ports = {"8080/tcp": [{"HostPort": str(container.port)}]} if container.port else {}
        return {
            "Id": container.id,
            "Name": f"/{container.name}",
            "Image": container.image,
            "RestartCount": container.restarts,
            "Config": {
                "Labels": {f"com.docker.compose.{name}": text for name, text in labels.items()},
                "Env": [f"{name}={text}" for name, text in container.environ.items()],
            },
            "HostConfig": {"RestartPolicy": {"Name": container.policy}},
            "State": {
                "Running": container.status == "running",
                "Status": container.status,
                "Health": {"Status": health, "Log": [{"Output": container.output}]},
                "StartedAt": f"{container.started:.0f}",
                "FinishedAt": container.finished,
                "ExitCode": container.exit_code,
                "OOMKilled": container.out_of_memory,
            },
            "NetworkSettings": {"Networks": networks, "Ports": ports},
        }

    def compose(self, argv: list[str], stdin: bytes) -> Reply:
        """Answer Compose."""
        try:
            given = COMPOSE.parse_args(argv)
            argv = [given.first, *given.rest]
            up = UP.parse_args(given.rest if given.first == "up" else [])
            down = DOWN.parse_args(given.rest if given.first == "down" else [])
        except RefusedError as error:
            return Reply(16, err=str(error))
        if given.progress not in (None, "plain", "quiet") or given.project_name not in (None, NAME):
            return Reply(16, err=f"unsupported: {given}")
        # A project on standard input needs its name and folder for relative paths.
        if given.file and (given.file, given.project_directory) != ("-", str(self.root)):
            return Reply(14, err="open: no such file or directory")
        model = json.loads(stdin if given.file else b"{}") or self.model()
        match argv:
            case ["version", "--short"]:
                return Reply(out="2.40.3")
            case ["config", "--format", "json"]:
                if self.configuration_fault:
                    return Reply(15, err=self.configuration_fault)
                return Reply(out=json.dumps(self.model()))
            case ["config", "--hash", which] if given.profile == "*":
                services = self.model()["services"]
                lines = [
                    f"{name} {hash_of(service)}"
                    for name, service in services.items()
                    if which in ("*", name)
                ]
                return Reply(out="\n".join(lines))
            case ["build", *cached, service] if cached in ([], ["--no-cache"]):
                described = model["services"][service]
                release = described["build"]["args"]["RELEASE"]
                if reply := self.step(f"build {release}{' without cache' if cached else ''}"):
                    return reply
                self.build(release)
                return Reply(out="#1 building\n")
            case ["run", "--rm", "--no-deps", "-T", "migrate", *command]:
                image = model["services"]["migrate"]["image"]
                release = self.images.get(image, image).removeprefix("sha256:")
                if command == ["python", "nginx/keep_static.py"]:
                    return self.step(f"keep static {release}") or Reply()
                return self.data.migrate(release, command)
            case ["run", "--rm", "--no-deps", "-T", "env-check"]:
                image = model["services"]["env-check"]["image"]
                if image not in (*self.images, *self.images.values()):
                    return Reply(1, err=f"No such image: {image}")
                return self.environment_check
            case ["run", "--rm", "--no-deps", "-T", "certificates", "check"]:
                return self.certificate
            case ["run", "--rm", "--no-deps", "-T", "certificates", "install"]:
                return self.step("install certificate") or self.certificate
            case ["run", "--rm", "--no-deps", "-T", _, "sh", "-c", script]:
                return self.data.media_volume(script, stdin)
            case ["up", *_] if up.detach and up.no_build and up.no_deps and up.force_recreate:
                [service] = up.rest
                assert len(self.replicas.of_service(service)) < 2
                self.containers.pop(service, None)
                if reply := self.step(f"recreate {service} {self.latest()}"):
                    return reply
                self.create(service)
                return Reply()
            case ["up", *_] if up.detach and up.no_build and up.no_deps and up.no_recreate:
                return self.replicas.start(up.rest, up.scale)
            case ["up", *_] if up.detach and up.no_build and up.wait and up.wait_timeout == "300":
                if up.remove_orphans:
                    for name in set(self.containers) - set(model["services"]):
                        del self.containers[name]
                return self.up(up.rest, recreate=not up.no_recreate)
            case ["down", *_] if down.remove_orphans:
                if reply := self.step("down"):
                    return reply
                self.containers.clear()
                if down.volumes:
                    self.data.rows.clear()
                return Reply()
        pytest.fail(f"the scripted engine does not know: docker compose {argv}")

    def up(self, named: list[str], *, recreate: bool) -> Reply:
        """Start stopped services; recreate those with another image or configuration."""
        if reply := self.step(" ".join(["up", *named])):
            return reply
        for service, described in self.model()["services"].items():
            if service in ("migrate", "env-check") or (named and service not in named):
                continue
            result = self.containers.get(service)
            image = self.images.get(f"{described['image']}:latest", described["image"])
            other = result and (result.image, result.hash) != (image, hash_of(described))
            if result is None or (other and recreate):
                self.create(service).started -= 60
            elif result.status != "running":
                result.status, result.started = "running", self.clock.now - 60
        return Reply()
