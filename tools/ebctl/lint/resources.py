"""`Resources` of a .config file, by cfn-lint.

cfn-lint wants a whole template, so stand-ins are added for what Elastic Beanstalk puts into it; a
file that changes one of those resources states its difference only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.ebctl.lint import nodes
from tools.ebctl.lint.finding import Finding

REGION = "us-east-1"
# What an environment with an application load balancer has, with what cfn-lint insists on.
# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/customize-containers-format-resources-eb.html
OWN: dict[str, dict[str, Any]] = {
    "AWSEBAutoScalingGroup": {
        "Type": "AWS::AutoScaling::AutoScalingGroup",
        "Properties": {
            "MinSize": "1",
            "MaxSize": "2",
            "AvailabilityZones": {"Fn::GetAZs": ""},
            "LaunchTemplate": {"LaunchTemplateId": "lt-0123456789abcdef0", "Version": "1"},
        },
    },
    "AWSEBEC2LaunchTemplate": {
        "Type": "AWS::EC2::LaunchTemplate",
        "Properties": {"LaunchTemplateData": {}},
    },
    "AWSEBSecurityGroup": {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {"GroupDescription": "instances"},
    },
    "AWSEBLoadBalancerSecurityGroup": {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {"GroupDescription": "load balancer"},
    },
    "AWSEBV2LoadBalancer": {
        "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "Properties": {},
    },
    "AWSEBV2LoadBalancerTargetGroup": {
        "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
        "Properties": {"Port": 80, "Protocol": "HTTP", "VpcId": "vpc-0123456789abcdef0"},
    },
    "AWSEBV2LoadBalancerListener": {
        "Type": "AWS::ElasticLoadBalancingV2::Listener",
        "Properties": {
            "LoadBalancerArn": {"Ref": "AWSEBV2LoadBalancer"},
            "Port": 80,
            "Protocol": "HTTP",
            "DefaultActions": [
                {"Type": "forward", "TargetGroupArn": {"Ref": "AWSEBV2LoadBalancerTargetGroup"}}
            ],
        },
    },
}
# Elastic Beanstalk's own function, replaced before CloudFormation sees it.
OWN_FUNCTION = "Fn::GetOptionSetting"


def check(file: str, node: nodes.Node) -> Iterator[Finding]:
    """Yield what cfn-lint finds."""
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    given = nodes.value(node)
    if not isinstance(given, dict):
        yield Finding(file, nodes.line(node), "Resources has no resource below it", "resource")
        return
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": merged(plain(given))}
    matches = lint(json.dumps(template), config=ManualArgs(regions=[REGION]))
    for match in matches:
        path = [str(part) for part in getattr(match, "path", None) or []]
        if path[1:2] and path[1] in OWN and path[1] not in given:
            continue
        message = " ".join(str(match.message).split())
        yield Finding(file, line_of(node, path[1:]), message, f"cfn-lint {match.rule.id}")


def plain(value: Any) -> Any:
    """Return a value with Elastic Beanstalk's own function replaced by a text."""
    if isinstance(value, dict):
        if set(value) == {OWN_FUNCTION}:
            return str((value[OWN_FUNCTION] or {}).get("DefaultValue", "setting"))
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def merged(given: dict[str, Any]) -> dict[str, Any]:
    """Return Elastic Beanstalk's resources with a file's differences, and the file's own."""
    resources = {name: dict(resource) for name, resource in OWN.items()}
    for name, resource in given.items():
        base = resources.get(name)
        if base and isinstance(resource, dict):
            properties = {**base["Properties"], **(resource.get("Properties") or {})}
            resources[name] = {**base, **resource, "Properties": properties}
        else:
            resources[name] = resource
    return resources


def line_of(node: nodes.Node, path: list[str]) -> int:
    """Return the line of the innermost key of a path that the file has."""
    number = nodes.line(node)
    current: nodes.Node | None = node
    for part in path:
        nodes_of_part = [(value, line) for key, value, line in nodes.pairs(current) if key == part]
        if not nodes_of_part:
            break
        current, number = nodes_of_part[0]
    return number
