"""The worker's bundle: the site's, without what an environment of a single instance refuses.

A file of .ebextensions is in it or not, as a whole. `eb create --single` cannot leave single
settings out: those of a scaling trigger, for example, end the deploy with "AWSEBCloudwatchAlarmLow
doesn't exist".
https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/using-features-managing-env-types.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.ebctl.bundle import Bundle, git
from tools.ebctl.faults import EbctlError
from tools.ebctl.lint import nodes
from tools.ebctl.lint.config_files import FOLDER
from tools.ebctl.lint.settings import Setting, settings_of

# What belongs to a load balancer, or to more than one instance: namespaces, options, resources.
NAMESPACE = re.compile(
    r"aws:autoscaling:(asg|scheduledaction|trigger|updatepolicy:rollingupdate)"
    r"|aws:elb(v2)?:.+|aws:elasticbeanstalk:(environment:process:.+|trafficsplitting)"
)
OPTIONS = (
    ("aws:elasticbeanstalk:command", "DeploymentPolicy"),
    ("aws:elasticbeanstalk:command", "BatchSize"),
    ("aws:elasticbeanstalk:command", "BatchSizeType"),
    ("aws:elasticbeanstalk:environment", "EnvironmentType"),
    ("aws:elasticbeanstalk:environment", "LoadBalancerType"),
    ("aws:elasticbeanstalk:environment", "LoadBalancerIsShared"),
)
RESOURCE = re.compile(r"AWSEB(V2LoadBalancer|LoadBalancer|AutoScalingScale|CloudwatchAlarm)\w*")


def left_out(source: Bundle) -> list[str]:
    """Return the files of .ebextensions that are not for a single instance.

    Raises:
        EbctlError: a file has both kinds, or is no YAML.
    """
    names = []
    for name, file in source.under(FOLDER):
        root, findings = nodes.parse(name, file.text) if name.endswith(".config") else (None, [])
        if findings:
            raise EbctlError(f"{findings[0]}. Run ./ebctl lint")
        kinds = dict(parts(name, root))
        balanced = [part for part, is_balanced in kinds.items() if is_balanced]
        others = [part for part, is_balanced in kinds.items() if not is_balanced]
        if balanced and others:
            raise EbctlError(
                f"{name} has {others[0]}, and {balanced[0]}, which a single instance refuses. "
                "Move one of them to another file."
            )
        if balanced:
            names.append(name)
    return names


def parts(name: str, root: nodes.Node | None) -> Iterator[tuple[str, bool]]:
    """Yield what a file has, and whether a single instance refuses it."""
    for key, value, _ in nodes.pairs(root):
        if key == "option_settings":
            for item in settings_of(name, value):
                if isinstance(item, Setting):
                    option = (item.namespace, item.name)
                    refused = bool(NAMESPACE.fullmatch(item.namespace)) or option in OPTIONS
                    yield f"{item.namespace} {item.name}", refused
        elif key == "Resources":
            for resource, _, _ in nodes.pairs(value):
                yield f"the resource {resource}", bool(RESOURCE.fullmatch(resource))
        else:
            yield f"{key}:", False


def without(source: Bundle, names: list[str]) -> Bundle:
    """Return a bundle without some files."""
    return Bundle({name: file for name, file in source.files.items() if name not in names})


def write(root: Path, names: list[str], target: Path) -> None:
    """Write what `eb deploy` would send of the last commit, without some files.

    Args:
        root: the clone.
        names: the files to leave out.
        target: the .zip; an existing one is replaced.

    Raises:
        EbctlError: it is no clone, has no commit, or the target cannot be written.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    outside = [f":(exclude){name}" for name in names]
    git(root, "archive", "--format=zip", f"--output={target}", "HEAD", "--", ".", *outside)
