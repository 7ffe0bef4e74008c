"""option_settings: all of them, from both of the forms that a file may write them in, checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from ops.environment.contract import VARIABLES
from tools.ebctl.lint import known, nodes
from tools.ebctl.lint.finding import Finding, did_you_mean

PROPERTIES = "aws:elasticbeanstalk:application:environment"
SECRETS = "aws:elasticbeanstalk:application:environmentsecrets"


@dataclass(frozen=True)
class Setting:
    """One option with its value as written, and where."""

    namespace: str
    name: str
    value: str
    file: str
    line: int
    document: bool = False
    # Known at the deploy only.
    computed: bool = False

    def finding(self, message: str, rule: str) -> Finding:
        """Return a finding about it."""
        return Finding(self.file, self.line, f"{self.name}: {message}", rule)


def settings_of(file: str, node: nodes.Node) -> Iterator[Setting | Finding]:
    """Yield the settings below `option_settings`, and what does not have their form.

    https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/ebextensions-optionsettings.html
    """
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from longhand(file, item)
        return
    if not isinstance(node, yaml.MappingNode):
        yield Finding(
            file, nodes.line(node), "option_settings has no namespace below it", "settings"
        )
    for namespace, options, number in nodes.pairs(node):
        if not isinstance(options, yaml.MappingNode):
            yield Finding(file, number, f"{namespace} has no option below it", "settings")
        for name, value, line in nodes.pairs(options):
            yield from setting(file, namespace, name, value, line)


def longhand(file: str, item: nodes.Node) -> Iterator[Setting | Finding]:
    """Yield the setting of `- namespace: ... option_name: ... value: ...`."""
    parts = {key: value for key, value, _ in nodes.pairs(item)}
    name = nodes.text(parts.get("option_name"))
    value = parts.get("value")
    if name is None or value is None:
        message = "a setting of a list needs namespace, option_name and value"
        yield Finding(file, nodes.line(item), message, "settings")
        return
    namespace = nodes.text(parts.get("namespace")) or PROPERTIES
    yield from setting(file, namespace, name, value, nodes.line(item))


def setting(
    file: str, namespace: str, name: str, node: nodes.Node, line: int
) -> Iterator[Setting | Finding]:
    """Yield a setting, or a finding where its value is a list or a mapping.

    Args:
        file: the file's path in the bundle.
        namespace: the option's namespace.
        name: the option.
        node: its value.
        line: the line of the option, from 1.
    """
    text = nodes.text(node)
    computed = nodes.is_computed(node)
    document = (known.find(namespace)[1] or {}).get(name, known.Option()).document
    if text is None and not document and not computed:
        yield Finding(file, line, f"{name}: its value is a list or a mapping, not a text", "value")
    else:
        yield Setting(namespace, name, text or "", file, line, text is None, computed)


def check(
    setting: Setting, *, by_client: bool = True, with_saved: bool = False
) -> Iterator[Finding]:
    """Yield what is wrong with a setting by itself.

    Args:
        setting: the setting.
        by_client: check what `eb create` would set instead; not for its own saved configuration.
        with_saved: `eb create` uses a saved configuration, and so none of its own values.
    """
    is_known, options = known.find(setting.namespace)
    if not is_known:
        hint = did_you_mean(setting.namespace, known.namespaces())
        yield setting.finding(f"there is no namespace {setting.namespace!r}.{hint}", "namespace")
        return
    if options is None:
        return
    option = options.get(setting.name)
    if option is None:
        hint = did_you_mean(setting.name, options)
        yield Finding(
            setting.file,
            setting.line,
            f"{setting.namespace} has no option {setting.name!r}.{hint}",
            "option",
        )
        return
    if not (setting.document or setting.computed) and (problem := option.problem(setting.value)):
        yield setting.finding(problem, "value")
    if option.secret:
        yield setting.finding("a secret does not belong in a file", "secret")
    if by_client:
        yield from overridden(setting, option, with_saved=with_saved)


def overridden(setting: Setting, option: known.Option, *, with_saved: bool) -> Iterator[Finding]:
    """Yield that the eb client sets another value, which wins."""
    if option.always:
        yield setting.finding(
            f"`eb create` always sets it, which wins over this file; use its {option.always}",
            "overridden",
        )
    elif option.client and not with_saved and setting.value != option.client:
        yield setting.finding(
            f"`eb create` sets {option.client!r}, which wins over this file; put it into "
            ".elasticbeanstalk/default.cfg.yml",
            "overridden",
        )


def check_together(settings: list[Setting]) -> Iterator[Finding]:
    """Yield what is wrong between settings."""
    yield from set_twice(settings)
    by_name = {(item.namespace, item.name): item for item in settings}
    for namespace, lower, upper in (
        ("aws:autoscaling:asg", "MinSize", "MaxSize"),
        ("aws:autoscaling:trigger", "LowerThreshold", "UpperThreshold"),
        ("aws:elasticbeanstalk:environment:process:default", *CHECK_TIMES),
    ):
        small, large = by_name.get((namespace, lower)), by_name.get((namespace, upper))
        if not (small and large and numeric(small) and numeric(large)):
            continue
        if int(small.value) > int(large.value):
            yield small.finding(f"{small.value} is more than {upper} {large.value}", "together")
    yield from slow_requests(by_name)
    yield from breach(by_name)
    yield from managed_updates(by_name)
    yield from listeners(settings, by_name)


CHECK_TIMES = ("HealthCheckTimeout", "HealthCheckInterval")
# The load balancer's times have to be longer than the instance's nginx waits for an answer: longer
# than a request by so much (nginx/limits.sh; a test compares).
BALANCER_TIMES = (
    ("aws:elbv2:loadbalancer", "IdleTimeout"),
    ("aws:elasticbeanstalk:environment:process:default", "DeregistrationDelay"),
)
INSTANCE_SECONDS = 10
ByName = dict[tuple[str, str], Setting]


def numeric(setting: Setting) -> bool:
    """Return whether a value is a number."""
    return setting.value.isdecimal()


def set_twice(settings: list[Setting]) -> Iterator[Finding]:
    """Yield a setting that another file, or another line, makes too."""
    seen: dict[tuple[str, str], Setting] = {}
    for item in settings:
        first = seen.setdefault((item.namespace, item.name), item)
        if first is not item and first.file != item.file:
            yield item.finding(f"{first.file} line {first.line} sets it too", "set-twice")


def breach(by_name: ByName) -> Iterator[Finding]:
    """Yield a trigger whose times do not fit: Elastic Beanstalk would change one of them."""
    trigger = "aws:autoscaling:trigger"
    parts = [
        by_name.get((trigger, name)) for name in ("BreachDuration", "Period", "EvaluationPeriods")
    ]
    numbers = [item for item in parts if item and numeric(item)]
    if len(numbers) == len(parts):
        duration, period, times = numbers
        if int(duration.value) != int(period.value) * int(times.value):
            yield duration.finding("it has to be Period times EvaluationPeriods", "together")


def slow_requests(by_name: ByName) -> Iterator[Finding]:
    """Yield a time of the load balancer that is shorter than a request: it follows no variable."""
    longest = longest_request(by_name)
    for key in BALANCER_TIMES:
        limit = by_name.get(key)
        if not (longest and limit and numeric(limit)):
            continue
        needed = longest + INSTANCE_SECONDS
        if int(limit.value) <= needed:
            message = (
                f"a request may take {longest} s, and the instance's nginx waits {needed} s "
                "for it; set this to more"
            )
            yield limit.finding(message, "together")


def longest_request(by_name: ByName) -> int:
    """Return how many seconds a request may take; 0 where these properties do not say it."""
    slow = by_name.get((PROPERTIES, "SLOW_PATHS"))
    name = "SLOW_REQUEST_SECONDS" if slow and slow.value.strip(" ,") else "REQUEST_SECONDS"
    given = by_name.get((PROPERTIES, name))
    if given:
        return int(given.value) if numeric(given) else 0
    return int(VARIABLES[name].default) if name == "SLOW_REQUEST_SECONDS" else 0


def managed_updates(by_name: ByName) -> Iterator[Finding]:
    """Yield managed updates without what they need."""
    actions = "aws:elasticbeanstalk:managedactions"
    enabled = by_name.get((actions, "ManagedActionsEnabled"))
    if enabled and enabled.value == "true":
        for needed in (
            (actions, "PreferredStartTime"),
            (f"{actions}:platformupdate", "UpdateLevel"),
        ):
            if needed not in by_name:
                yield enabled.finding(f"it needs {needed[1]} as well", "together")


def listeners(settings: list[Setting], by_name: ByName) -> Iterator[Finding]:
    """Yield an HTTPS listener without a certificate."""
    for item in settings:
        secure = item.namespace.startswith("aws:elbv2:listener:") and item.value == "HTTPS"
        if secure and (item.namespace, "SSLCertificateArns") not in by_name:
            yield item.finding("HTTPS needs SSLCertificateArns", "together")
