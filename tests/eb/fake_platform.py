"""The fake Docker platform: deploys a bundle to instances, batch by batch.

It refuses what the real platform refuses, with the same messages. Intervals of health checks are
scaled down; the deregistration delay is not, since it ends with the last request.
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
    """The release cannot be deployed; the message becomes an event."""


@dataclass(frozen=True)
class Release:
    """A version that is built and ready to run."""

    label: str
    image: str
    port: int
    source: Path
    variables: Path
    options: Options


class Platform:
    """The instances of one environment, and their balancer."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        """Prepare it; nothing runs yet."""
        self.name = name
        self.network = network
        self.folder = folder
        self.balancer = Balancer(f"{name}-alb", network, folder / "alb")
        self.instances: list[Instance] = []
        self.images: set[str] = set()
        # Terminated instances too.
        self.all_instances: list[Instance] = []
        self.numbers = itertools.count(1)
        self.source_numbers = itertools.count(1)

    def prepare(self, label: str, bundle: Path, given: Options) -> Release:
        """Unpack, check and build a version, as an instance does.

        Args:
            label: the label of the version.
            bundle: the zip file.
            given: the options of the environment, which override those of the bundle.

        Raises:
            DeployError: the platform refuses the version.
        """
        source = self.folder / f"source-{next(self.source_numbers)}"
        unpack(bundle, source)
        options = {**bundled_options(source), **given}
        if (source / "Dockerrun.aws.json").exists():
            refuse_prebuilt_image(source)
        port = check_dockerfile(source)
        image = f"{self.name}:{re.sub('[^a-z0-9.-]', '-', label.lower())}"
        docker("build", "--quiet", "--tag", image, str(source))
        self.images.add(image)
        return Release(label, image, port, source, write_variables(source, options), options)

    def create(self, release: Release) -> None:
        """Start the balancer and the first instances in parallel."""
        idle = int(release.options["aws:elbv2:loadbalancer", "IdleTimeout"])
        self.balancer.start(process_settings(release.options), idle, SCALE)
        self.instances = self.launch(
            release, int(release.options["aws:autoscaling:asg", "MinSize"])
        )

    def deploy(self, release: Release) -> None:
        """Deploy a version: add a batch, replace the other instances, remove the batch."""
        policy = release.options[COMMAND, "DeploymentPolicy"]
        if policy != "RollingWithAdditionalBatch":
            raise DeployError(f"the fake platform does not support {policy}")
        before = list(self.instances)
        size = batch_size(release.options, len(before))
        additional = self.launch(release, size)
        self.instances += additional
        self.roll(release, before, size)
        for instance in additional:
            self.terminate(instance, release.options)
        self.instances = before

    def update(self, release: Release) -> None:
        """Apply changed properties to the instances, batch by batch."""
        size = batch_size(release.options, len(self.instances))
        self.roll(release, self.instances, size, "confighooks")

    def roll(
        self, release: Release, instances: list[Instance], size: int, hooks: str = "hooks"
    ) -> None:
        """Replace the containers of instances while they are deregistered."""
        for start in range(0, len(instances), size):
            batch = instances[start : start + size]
            for instance in batch:
                self.deregister(instance, release.options)
                self.run_release(instance, release, hooks)
            for instance in batch:
                self.register(instance, release)

    def launch(self, release: Release, count: int) -> list[Instance]:
        """Start new instances in parallel; terminate them if one fails."""
        launched = []
        for _ in range(count):
            name = f"{self.name}-i{next(self.numbers)}"
            launched.append(Instance(name, self.network, self.folder / name))
        self.all_instances += launched
        try:
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(lambda instance: self.run_release(instance, release), launched))
            for instance in launched:
                self.register(instance, release)
        except DeployError:
            for instance in launched:
                self.terminate(instance, release.options)
            raise
        return launched

    def run_release(self, instance: Instance, release: Release, hooks: str = "hooks") -> None:
        """Deploy a version to an instance."""
        instance.deploy(
            *(release.image, release.port, release.variables, release.source, release.label),
            hooks,
        )

    def register(self, instance: Instance, release: Release) -> None:
        """Register an instance at the balancer once it is healthy."""
        process = process_settings(release.options)
        times = int(process["HealthyThresholdCount"])
        path, status = process["HealthCheckPath"], int(process["MatcherHTTPCode"])
        timeout = int(release.options[COMMAND, "Timeout"]) * SCALE
        if not instance.is_healthy_in_time(path, status, times, timeout):
            last = " | ".join(instance.application.logs().splitlines()[-3:])
            kind = "is not healthy" if instance.application.is_running() else "quit unexpectedly"
            raise DeployError(f"The Docker container of {instance.name} {kind}: {last}")
        self.balancer.register(instance.name, instance.nginx.address())

    def deregister(self, instance: Instance, options: Options) -> None:
        """Deregister an instance, and wait until its requests are finished."""
        delay = float(process_settings(options)["DeregistrationDelay"])
        self.balancer.deregister(instance.name, delay)

    def terminate(self, instance: Instance, options: Options) -> None:
        """Deregister and remove an instance."""
        self.deregister(instance, options)
        instance.remove()

    def remove(self) -> None:
        """Remove the instances, the balancer and the images."""
        for instance in self.all_instances:
            instance.discard()
        self.balancer.stop()
        for image in self.images:
            docker("image", "rm", "--force", image)


def unpack(bundle: Path, target: Path) -> None:
    """Unpack a bundle with its file modes, as `unzip` does."""
    with zipfile.ZipFile(bundle) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            mode = stat.S_IMODE(entry.external_attr >> 16)
            if mode and not entry.is_dir():
                path.chmod(mode)


def bundled_options(source: Path) -> Options:
    """Return the settings of .ebextensions; later files override earlier ones."""
    settings: Options = {}
    for path in sorted((source / ".ebextensions").glob("*.config")):
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        for namespace, options in (content.get("option_settings") or {}).items():
            for name, value in options.items():
                settings[namespace, name] = str(value)
    return settings


def refuse_prebuilt_image(source: Path) -> None:
    """Refuse a prebuilt image, since the rehearsal has no registry."""
    content = json.loads((source / "Dockerrun.aws.json").read_text())
    raise DeployError(f"Failed to pull docker image {content['Image']['Name']}")


def check_dockerfile(source: Path) -> int:
    """Return the port that the Dockerfile exposes; raise DeployError as the platform does."""
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
    # Instead of the pull: the image must exist under this name.
    docker("image", "inspect", first[1])
    return int(exposed[1])


def write_variables(source: Path, options: Options) -> Path:
    """Write the properties for `docker run --env-file`: one a line, without quotes."""
    lines = [
        f"{name}={value}" for (namespace, name), value in options.items() if namespace == PROPERTIES
    ]
    if len("\n".join(lines)) > 4096:
        raise DeployError("the environment properties are longer than 4096 characters")
    target = source.with_name(f"{source.name}.env.list")
    target.write_text("\n".join(lines) + "\n")
    return target


def process_settings(options: Options) -> dict[str, str]:
    """Return the settings of the default process."""
    return {name: value for (namespace, name), value in options.items() if namespace == PROCESS}


def batch_size(options: Options, count: int) -> int:
    """Return how many instances are replaced at a time."""
    size = int(options.get((COMMAND, "BatchSize"), "100"))
    if options.get((COMMAND, "BatchSizeType"), "Percentage") == "Fixed":
        return min(size, count)
    return max(1, count * size // 100)
