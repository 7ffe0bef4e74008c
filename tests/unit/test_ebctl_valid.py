"""`./ebctl lint` finds nothing in valid files, of each kind that AWS's guide describes."""

from pathlib import Path

import pytest

from tests.unit.ebctl_faults.apps import with_app
from tests.unit.ebctl_faults.bundles import OWN, alone
from tools.ebctl.bundle import Bundle, BundleFile
from tools.ebctl.lint import findings_of

ALARM = """
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: Shop/Orders
      MetricName: Waiting
      Statistic: Maximum
      Period: 60
      EvaluationPeriods: 2
      ComparisonOperator: GreaterThanThreshold
"""
VALID = {
    "only comments": "# Nothing to set here yet.\n",
    "parameters that files use": """
Parameters:
  Motto: {Type: String, Default: hello}
files:
  /etc/motto:
    content: {Ref: Motto}
""",
    "parameters that resources use": f"""
Parameters:
  Limit: {{Type: Number, Default: 7}}
Resources:
  Orders:{ALARM}
      Threshold: {{Ref: Limit}}
""",
    "mappings": f"""
Mappings:
  Limits: {{orders: {{most: 9}}}}
Resources:
  Orders:{ALARM}
      Threshold: {{Fn::FindInMap: [Limits, orders, most]}}
""",
    "custom options that resources read": """
option_settings:
  aws:elasticbeanstalk:customoption:
    CacheSubnet: subnet-0123456789abcdef0
Resources:
  Disk:
    Type: AWS::EFS::FileSystem
  Mount:
    Type: AWS::EFS::MountTarget
    Properties:
      FileSystemId: {Ref: Disk}
      SubnetId: {Fn::GetOptionSetting: {OptionName: CacheSubnet}}
      SecurityGroups: [{Fn::GetAtt: [AWSEBSecurityGroup, GroupId]}]
""",
    "options of the classic load balancer": """
option_settings:
  aws:elb:loadbalancer: {CrossZone: "true", SecurityGroups: sg-0123456789abcdef0}
  aws:elb:healthcheck: {Interval: "15", HealthyThreshold: "2"}
  aws:elb:listener: {ListenerEnabled: "false"}
  aws:elb:listener:443:
    ListenerProtocol: SSL
    InstancePort: "80"
    InstanceProtocol: TCP
    SSLCertificateId: arn:aws:acm:eu-central-1:123456789012:certificate/1
  aws:elb:policies: {ConnectionDrainingTimeout: "40", Stickiness Policy: "true"}
  aws:elb:policies:tls:
    SSLReferencePolicy: ELBSecurityPolicy-TLS-1-2-2017-01
    LoadBalancerPorts: "443"
""",
    "difference of the classic load balancer": """
Resources:
  AWSEBLoadBalancer:
    Type: AWS::ElasticLoadBalancing::LoadBalancer
    Properties:
      SecurityGroups: [{Ref: AWSEBSecurityGroup}]
      CrossZone: true
""",
    "file modes of four to six digits": """
files:
  /a: {mode: "0644", content: a}
  /b: {mode: "00755", content: b}
  /c: {mode: "000600", content: c}
""",
    "queue of the worker tier": f"""
Resources:
  Waiting:{ALARM}
      Threshold: 30
      Dimensions: [{{Name: Queue, Value: {{Fn::GetAtt: [AWSEBWorkerQueue, QueueName]}}}}]
      AlarmActions: [{{Ref: AWSEBAutoScalingScaleUpPolicy}}]
      OKActions: [{{Ref: AWSEBAutoScalingScaleDownPolicy}}]
  Lost:{ALARM}
      Threshold: 0
      Dimensions: [{{Name: Queue, Value: {{Fn::GetAtt: [AWSEBWorkerDeadLetterQueue, QueueName]}}}}]
""",
    "scaling policy and the name of the environment": f"""
Resources:
  Grow:
    Type: AWS::AutoScaling::ScalingPolicy
    Properties:
      AutoScalingGroupName: {{Ref: AWSEBAutoScalingGroup}}
      AdjustmentType: PercentChangeInCapacity
      ScalingAdjustment: 50
  Orders:{ALARM}
      Threshold: 7
      Dimensions: [{{Name: Site, Value: {{Ref: AWSEBEnvironmentName}}}}]
      AlarmActions: [{{Ref: Grow}}]
""",
    "alarm of the environment switched off": """
Resources:
  AWSEBCloudwatchAlarmLow:
    Properties: {ActionsEnabled: false}
""",
    "values that are known at the deploy": """
option_settings:
  aws:elasticbeanstalk:application:environment:
    AWS_S3_REGION_NAME: '`{"Ref": "AWS::Region"}`'
    WEB_CONCURRENCY: {Fn::GetOptionSetting: {OptionName: Processes, DefaultValue: "4"}}
  aws:elbv2:listener:443:
    Protocol: HTTPS
    SSLCertificateArns: '`{"Ref": "Certificate"}`'
  aws:elasticbeanstalk:application:environmentsecrets:
    DJANGO_SECRET_KEY: {Ref: KeyOfDjango}
""",
}

# In the process of test_ebctl_lint.py, where cfn-lint's rules are read once.
pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("kind", VALID)
def test_lint_finds_nothing_in_a_valid_file(kind: str) -> None:
    assert list(findings_of(alone(VALID[kind]))) == []


def test_lint_reads_the_resources_of_all_files_together() -> None:
    """A parameter, or a resource, may be in another file than what refers to it."""
    alarm = f"Resources:\n  Orders:{ALARM}      Threshold: {{Ref: Limit}}\n"
    shared = "Parameters:\n  Limit: {Type: Number, Default: 7}\n"
    files = {".ebextensions/alarm.config": alarm, ".ebextensions/shared.config": shared}
    added = {name: BundleFile(text.encode()) for name, text in files.items()}

    assert list(findings_of(Bundle({**OWN.files, **added}))) == []

    del added[".ebextensions/shared.config"]
    (finding,) = findings_of(Bundle({**OWN.files, **added}))
    assert (finding.file, finding.line) == (".ebextensions/alarm.config", 11)
    assert "Limit" in finding.message


@pytest.mark.parametrize(
    ("app", "file"),
    [
        ("shop", "shop/__init__.py"),
        ("shop.apps.ShopConfig", "shop/apps.py"),
        ("shop.orders", "shop/orders/__init__.py"),
        ("django.contrib.sites", "shop.py"),
        ("django.contrib.auth.apps.AuthConfig", "shop.py"),
    ],
)
def test_lint_finds_nothing_in_an_app_of_the_bundle_or_of_a_package(app: str, file: str) -> None:
    assert list(findings_of(with_app(app, file))) == []


def test_eb_client_overrides_nothing_where_a_saved_configuration_is_used(tmp_path: Path) -> None:
    bundle = alone(
        "option_settings:\n  aws:autoscaling:updatepolicy:rollingupdate:\n"
        "    RollingUpdateType: Immutable\n"
    )

    assert [finding.rule for finding in findings_of(bundle)] == ["overridden"]
    assert list(findings_of(bundle, with_saved=True)) == []
