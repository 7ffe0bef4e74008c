"""The Docker platform of the rehearsal: from a bundle to instances, one batch after the other.

What it refuses, and in which words, is what the real one is known to refuse. Times of health checks
are scaled down; the deregistration delay is not, since it ends with the last request.
"""

import itertools
import json
import re
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.eb.fake_balancer import Balancer
from tests.eb.fake_instance import Instance
from tests.stack.compose import docker

PROPERTIES = "aws:elasticbeanstalk:application:environment"
PROCESS = "aws:elasticbeanstalk:environment:process:default"
COMMAND = "aws:elasticbeanstalk:command"
# Health checks every second instead of every ten, and a command's `Timeout` in proportion.
SCALE = 0.1
EXPOSE = re.compile(r"^EXPOSE\s+(\d+)\s*$", re.MULTILINE)
FROM = re.compile(r"^FROM\s+(\S+)", re.MULTILINE)

Options = dict[tuple[str, str], str]


class DeployError(Exception):
    """The release cannot be deployed; the message is the event's."""


@dataclass(frozen=True)
class Release:
    """A version that is ready to be run."""

    label: str
    image: str
    port: int
    source: Path
    variables: Path
    options: Options


class Platform:
    """The instances of one environment, and the balancer before them."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        """Describe it; nothing runs yet."""
        self.name = name
        self.network = network
        self.folder = folder
        self.balancer = Balancer(f"{name}-alb", network, folder / "alb")
        self.instances: list[Instance] = []
        self.images: set[str] = set()
        # Those that are no more, too.
        self.known: list[Instance] = []
        self.numbers = itertools.count(1)
        self.unpacked = itertools.count(1)

    def prepare(self, label: str, bundle: Path, given: Options) -> Release:
        """Unpack, check and build a version as an instance does.

        Args:
            label: the version's.
            bundle: the .zip.
            given: the options of the environment itself, which win over the bundle's.

        Raises:
            DeployError: the platform would refuse it.
        """
        source = self.folder / f"source-{next(self.unpacked)}"
        unpack(bundle, source)
        options = {**bundled_options(source), **given}
        if (source / "Dockerrun.aws.json").exists():
            pull(source)
        port = check_dockerfile(source)
        image = f"{self.name}:{re.sub('[^a-z0-9.-]', '-', label.lower())}"
        docker("build", "--quiet", "--tag", image, str(source))
        self.images.add(image)
        return Release(label, image, port, source, write_variables(source, options), options)

    def create(self, release: Release) -> None:
        """Start the balancer and the first instances, all at once."""
        idle = int(release.options["aws:elbv2:loadbalancer", "IdleTimeout"])
        self.balancer.start(process_of(release.options), idle, SCALE)
        self.instances = self.launch(
            release, int(release.options["aws:autoscaling:asg", "MinSize"])
        )

    def deploy(self, release: Release) -> None:
        """Roll a version out: an additional batch first, then the others, then one batch less."""
        policy = release.options[COMMAND, "DeploymentPolicy"]
        if policy != "RollingWithAdditionalBatch":
            raise DeployError(f"the rehearsal does not know {policy}")
        before = list(self.instances)
        size = batch_size(release.options, len(before))
        more = self.launch(release, size)
        self.instances += more
        self.roll(release, before, size)
        for instance in more:
            self.terminate(instance, release.options)
        self.instances = before

    def update(self, release: Release) -> None:
        """Bring changed properties to the instances, batch by batch."""
        size = batch_size(release.options, len(self.instances))
        self.roll(release, self.instances, size, "confighooks")

    def roll(
        self, release: Release, instances: list[Instance], size: int, hooks: str = "hooks"
    ) -> None:
        """Replace the containers of instances, each out of the balancer meanwhile."""
        for start in range(0, len(instances), size):
            batch = instances[start : start + size]
            for instance in batch:
                self.leave(instance, release.options)
                self.fill(instance, release, hooks)
            for instance in batch:
                self.enter(instance, release)

    def launch(self, release: Release, count: int) -> list[Instance]:
        """Start new instances at the same time; those of a failed start are taken away again."""
        made = []
        for _ in range(count):
            name = f"{self.name}-i{next(self.numbers)}"
            made.append(Instance(name, self.network, self.folder / name))
        self.known += made
        try:
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(lambda instance: self.fill(instance, release), made))
            for instance in made:
                self.enter(instance, release)
        except DeployError:
            for instance in made:
                self.terminate(instance, release.options)
            raise
        return made

    def fill(self, instance: Instance, release: Release, hooks: str = "hooks") -> None:
        """Run a version on an instance."""
        instance.deploy(
            *(release.image, release.port, release.variables, release.source, release.label),
            hooks,
        )

    def enter(self, instance: Instance, release: Release) -> None:
        """Let an instance have requests, once it is healthy."""
        process = process_of(release.options)
        times = int(process["HealthyThresholdCount"])
        path, status = process["HealthCheckPath"], int(process["MatcherHTTPCode"])
        timeout = int(release.options[COMMAND, "Timeout"]) * SCALE
        if not instance.becomes_healthy(path, status, times, timeout):
            last = " | ".join(instance.application.logs().splitlines()[-3:])
            kind = "is not healthy" if instance.application.running() else "quit unexpectedly"
            raise DeployError(f"The Docker container of {instance.name} {kind}: {last}")
        self.balancer.register(instance.name, instance.nginx.address())

    def leave(self, instance: Instance, options: Options) -> None:
        """Take an instance out of the balancer, its requests finished."""
        delay = float(process_of(options)["DeregistrationDelay"])
        self.balancer.deregister(instance.name, delay)

    def terminate(self, instance: Instance, options: Options) -> None:
        """End an instance."""
        self.leave(instance, options)
        instance.remove()

    def remove(self) -> None:
        """Take everything away."""
        for instance in self.known:
            instance.discard()
        self.balancer.stop()
        for image in self.images:
            docker("image", "rm", "--force", image)


def unpack(bundle: Path, target: Path) -> None:
    """Unpack a bundle with the rights of its files, as `unzip` does."""
    with zipfile.ZipFile(bundle) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            mode = stat.S_IMODE(entry.external_attr >> 16)
            if mode and not entry.is_dir():
                path.chmod(mode)


def bundled_options(source: Path) -> Options:
    """Return the settings of .ebextensions; of two files the later counts."""
    found: Options = {}
    for path in sorted((source / ".ebextensions").glob("*.config")):
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        for namespace, options in (content.get("option_settings") or {}).items():
            for name, value in options.items():
                found[namespace, name] = str(value)
    return found


def pull(source: Path) -> None:
    """Refuse a prebuilt image: the rehearsal has no registry."""
    content = json.loads((source / "Dockerrun.aws.json").read_text())
    raise DeployError(f"Failed to pull docker image {content['Image']['Name']}")


def check_dockerfile(source: Path) -> int:
    """Return the port that the Dockerfile exposes, or raise what the platform says."""
    for name in ("docker-compose.yml", "docker-compose.yaml"):
        if (source / name).exists():
            raise DeployError(f"{name} is in the bundle, and would run instead of the Dockerfile")
    path = source / "Dockerfile"
    if not path.is_file():
        raise DeployError(
            "Both 'Dockerfile' and 'Dockerrun.aws.json' are missing, abort deployment"
        )
    text = path.read_text()
    if not (exposed := EXPOSE.search(text)):
        raise DeployError("no EXPOSE directive found in Dockerfile, abort deployment")
    first = FROM.search(text)
    if first is None or "$" in first[1]:
        raise DeployError("the image of the first FROM cannot be pulled")
    # In place of the pull: the image has to be there under this very name.
    docker("image", "inspect", first[1])
    return int(exposed[1])


def write_variables(source: Path, options: Options) -> Path:
    """Write the properties as `docker run --env-file` reads them: no quotes, a line each."""
    lines = [
        f"{name}={value}" for (namespace, name), value in options.items() if namespace == PROPERTIES
    ]
    if len("\n".join(lines)) > 4096:
        raise DeployError("the environment properties are longer than 4096 characters")
    target = source.with_name(f"{source.name}.env.list")
    target.write_text("\n".join(lines) + "\n")
    return target


def process_of(options: Options) -> dict[str, str]:
    """Return the settings of the default process."""
    return {name: value for (namespace, name), value in options.items() if namespace == PROCESS}


def batch_size(options: Options, count: int) -> int:
    """Return how many instances are replaced at once."""
    size = int(options.get((COMMAND, "BatchSize"), "100"))
    if options.get((COMMAND, "BatchSizeType"), "Percentage") == "Fixed":
        return min(size, count)
    return max(1, count * size // 100)
