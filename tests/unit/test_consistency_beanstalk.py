"""Limits, paths and texts in the Elastic Beanstalk files match the servers behind them.

Only AWS reads these files; the rehearsal in tests/eb covers a part of them.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.environment.contract import VARIABLES
from tests.tree import ROOT
from tests.unit.config_files import (
    limits,
    nginx_value,
    seconds,
    supervisor_sections,
    text_of,
)
from tools.ebctl import bundle
from tools.ebctl.lint import config_files, findings_of
from tools.ebctl.lint.settings import BALANCER_TIMES, INSTANCE_SECONDS, SECRETS, Setting

PROCESS = "aws:elasticbeanstalk:environment:process:default"
ROLLING = "aws:autoscaling:updatepolicy:rollingupdate"
HOOK = ".platform/hooks/postdeploy/limits"
# Seconds for which the platform's server block keeps idle connections; it cannot be changed.
PLATFORM_KEEPALIVE = 60
# The default timeout of `docker stop`.
DOCKER_STOP = 10


def settings() -> dict[tuple[str, str], str]:
    """Return every setting of .ebextensions."""
    result = config_files.check(bundle.from_tree(ROOT))
    return {(item.namespace, item.name): item.value for item in result if isinstance(item, Setting)}


def number(namespace: str, name: str) -> int:
    """Return a numeric setting."""
    return int(settings()[namespace, name])


def test_slow_request_times_out_first_in_the_innermost_server() -> None:
    instance = int(limits()["INSTANCE_SECONDS"])

    assert int(limits()["NGINX_SECONDS"]) < instance
    assert instance == int(limits()["REQUEST_SECONDS"]) + INSTANCE_SECONDS
    for namespace, name in BALANCER_TIMES:
        assert instance < number(namespace, name), name


def test_nginx_keepalive_outlasts_the_balancer_idle_timeout() -> None:
    """On the instance towards the balancer, and in the container towards the instance."""
    assert number("aws:elbv2:loadbalancer", "IdleTimeout") < PLATFORM_KEEPALIVE
    assert seconds(nginx_value("keepalive_timeout")) > PLATFORM_KEEPALIVE


def test_container_without_requests_stops_before_docker_kills_it() -> None:
    """The platform stops it without requests; supervisor needs a second for each program."""
    drain = number("aws:elasticbeanstalk:application:environment", "DRAIN_SECONDS")
    # Of the application servers a container runs one. The workers of SLOW_PATHS end at once.
    programs = len(supervisor_sections()) - 2 * len(VARIABLES["APP_SERVER"].choices) + 1

    assert drain + 2 * programs < DOCKER_STOP
    assert f"after {DOCKER_STOP} s" in text_of(".ebextensions/application.config")


@pytest.mark.parametrize("event", ["hooks", "confighooks"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"REQUEST_SECONDS": "33", "UPLOAD_MAX_MB": "37"},
        {"SLOW_PATHS": "/reports/", "SLOW_REQUEST_SECONDS": "44"},
    ],
)
def test_limits_hook_sets_nginx_limits_from_environment_properties(
    tmp_path: Path, given: dict[str, str], event: str
) -> None:
    """The hook runs after a deploy, and after a change of environment properties."""
    for name in (".platform", "nginx"):
        shutil.copytree(ROOT / name, tmp_path / "current" / name)
    hook = tmp_path / "current" / HOOK
    text = hook.read_text().replace("/opt/elasticbeanstalk/bin/", f"{tmp_path}/")
    hook.write_text(text.replace("/etc/nginx/conf.d/", f"{tmp_path}/"))
    known = "".join(f"{name}) echo {value} ;;\n" for name, value in given.items())
    fake_program(tmp_path, "get-config", f'#!/bin/sh\ncase "$3" in\n{known}*) exit 1 ;;\nesac\n')
    for name in ("nginx", "systemctl"):
        fake_program(tmp_path, name, f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/called\n')

    done = run(str(tmp_path / f"current/.platform/{event}/postdeploy/limits"), tmp_path)

    assert done.returncode == 0, done.stderr
    derived = limits(**given)
    longest = int(given.get("SLOW_REQUEST_SECONDS", derived["REQUEST_SECONDS"]))
    written = (tmp_path / "limits.conf").read_text()
    assert f"proxy_read_timeout {longest + INSTANCE_SECONDS}s;" in written
    assert f"client_max_body_size {derived['BODY_MAX_BYTES']};" in written
    assert f"the limit is {derived['UPLOAD_MAX_MB']} MB" in written
    assert (tmp_path / "called").read_text() == "nginx -q -t\nsystemctl reload nginx\n"


def test_rolling_update_keeps_the_minimum_number_of_instances() -> None:
    least = number("aws:autoscaling:asg", "MinSize")

    assert number(ROLLING, "MinInstancesInService") == least
    assert number(ROLLING, "MaxBatchSize") < least
    # In as many zones, so that one of them may fail.
    assert settings()["aws:autoscaling:asg", "Availability Zones"] == f"Any {least}"


def test_rolling_update_waits_for_the_deploy_of_a_new_instance() -> None:
    (minutes,) = re.findall(r"^PT(\d+)M$", settings()[ROLLING, "Timeout"])

    assert 60 * int(minutes) > number("aws:elasticbeanstalk:command", "Timeout")


def test_requests_that_visitors_got_wrong_are_no_ill_health() -> None:
    content = yaml.safe_load(text_of(".ebextensions/health.config"))["option_settings"]
    document = content["aws:elasticbeanstalk:healthreporting:system"]["ConfigDocument"]

    rules = document["Rules"]["Environment"]
    assert rules["Application"]["ApplicationRequests4xx"] == {"Enabled": False}
    assert rules["ELB"]["ELBRequests4xx"] == {"Enabled": False}


# No server of this project reads these; the files say why each has its value.
READ_BY_AWS = {
    "a deploy stops at the first unhealthy instance": {
        "aws:elasticbeanstalk:command": {"IgnoreHealthCheck": "false"},
        "aws:elasticbeanstalk:healthreporting:system": {
            "SystemType": "enhanced",
            "HealthCheckSuccessThreshold": "Ok",
        },
        ROLLING: {"RollingUpdateEnabled": "true", "RollingUpdateType": "Health"},
    },
    "a page and its hashed files come from one instance": {
        PROCESS: {"StickinessEnabled": "true", "StickinessType": "lb_cookie"},
    },
    "the load balancer sends requests to the nginx of the instance": {
        "aws:elasticbeanstalk:environment": {
            "EnvironmentType": "LoadBalanced",
            "LoadBalancerType": "application",
        },
        PROCESS: {"Port": "80", "Protocol": "HTTP"},
    },
    "logs outlive their instance": {
        "aws:elasticbeanstalk:cloudwatch:logs": {
            "StreamLogs": "true",
            "DeleteOnTerminate": "false",
        },
        "aws:elasticbeanstalk:cloudwatch:logs:health": {
            "HealthStreamingEnabled": "true",
            "DeleteOnTerminate": "false",
        },
    },
    "credentials of the instance need a token": {
        "aws:autoscaling:launchconfiguration": {"DisableIMDSv1": "true"},
    },
    "the number of instances follows the processor": {
        "aws:autoscaling:trigger": {
            "MeasureName": "CPUUtilization",
            "Statistic": "Average",
            "Unit": "Percent",
            "UpperBreachScaleIncrement": "1",
            "LowerBreachScaleIncrement": "-1",
        },
    },
    "the platform updates itself, except for major versions": {
        "aws:elasticbeanstalk:managedactions": {"ManagedActionsEnabled": "true"},
        "aws:elasticbeanstalk:managedactions:platformupdate": {"UpdateLevel": "minor"},
    },
}


@pytest.mark.parametrize("promise", READ_BY_AWS)
def test_settings_that_only_aws_reads_have_the_promised_value(promise: str) -> None:
    result = settings()

    for namespace, expected in READ_BY_AWS[promise].items():
        assert {name: result[namespace, name] for name in expected} == expected


def test_load_balancer_health_check_times_match_their_comment() -> None:
    interval = number(PROCESS, "HealthCheckInterval")
    healthy, unhealthy = (
        interval * number(PROCESS, f"{name}ThresholdCount") for name in ("Healthy", "Unhealthy")
    )

    assert number(PROCESS, "HealthCheckTimeout") < interval
    sentence = f"in service after {healthy} s, a broken one out after {unhealthy} s."
    assert sentence in text_of(".ebextensions/load-balancer.config")


def test_autoscaling_thresholds_do_not_oscillate() -> None:
    """Load that triggers one more instance must not trigger its removal at once."""
    trigger = "aws:autoscaling:trigger"
    least = number("aws:autoscaling:asg", "MinSize")

    after = number(trigger, "UpperThreshold") * least / (least + 1)
    assert number(trigger, "LowerThreshold") < after / 1.5
    assert least < number("aws:autoscaling:asg", "MaxSize")
    # Both say for how many minutes the load has to last, so that a spike adds no instance.
    periods = number(trigger, "EvaluationPeriods")
    assert 1 < periods * number(trigger, "Period") == number(trigger, "BreachDuration")


@pytest.mark.parametrize(
    ("file", "template"),
    [
        (".ebextensions/load-balancer.config", "proxy_read_timeout, {instance} s by default)"),
        (".ebextensions/load-balancer.config", "Shorter than the {platform} s"),
    ],
)
def test_limits_in_comments_of_ebextensions_are_correct(file: str, template: str) -> None:
    sentence = template.format(
        instance=limits()["BALANCER_SECONDS"],
        platform=PLATFORM_KEEPALIVE,
    )

    assert sentence in text_of(file)


def test_table_of_timeouts_in_the_beanstalk_guide_is_correct() -> None:
    rows = re.findall(r"^\| .+ \| .+ \| (\d+) \|$", text_of("docs/elastic-beanstalk.md"), re.M)

    assert [float(row) for row in rows] == [
        float(limits()["REQUEST_SECONDS"]),
        float(limits()["NGINX_SECONDS"]),
        float(limits()["BALANCER_SECONDS"]),
        number(PROCESS, "DeregistrationDelay"),
        number("aws:elbv2:loadbalancer", "IdleTimeout"),
        PLATFORM_KEEPALIVE,
        seconds(nginx_value("keepalive_timeout")),
    ]


def test_sample_settings_are_valid_when_uncommented() -> None:
    name = ".ebextensions/application.config"
    text = text_of(name)
    lines = [
        re.sub(r"^( *)# (?=[ A-Z]|aws:)", r"\1", line)
        if re.match(r" +# +(aws:|[A-Z_0-9]+:)", line)
        else line
        for line in text.splitlines()
    ]
    whole = bundle.from_tree(ROOT)
    files = {**whole.files, name: bundle.BundleFile("\n".join(lines).encode())}
    changed = bundle.Bundle(files)
    result = {
        (item.namespace, item.name)
        for item in config_files.check(changed)
        if isinstance(item, Setting) and item.file == name
    }

    assert {(SECRETS, "DJANGO_SECRET_KEY"), (SECRETS, "DATABASE_URL")} <= result
    for variable in ("AWS_STORAGE_BUCKET_NAME", "AWS_STATIC_BUCKET_NAME", "STATIC_URL"):
        assert ("aws:elasticbeanstalk:application:environment", variable) in result
    assert list(findings_of(changed)) == []


# The command that sets the hop limit runs with fake programs of an instance.

CURL = """#!/bin/sh
case "$*" in
*"-X PUT"*"/api/token") echo TOKEN ;;
*"token: TOKEN"*"/meta-data/instance-id") echo i-0123456789abcdef0 ;;
*"token: TOKEN"*"/meta-data/placement/region") echo eu-central-1 ;;
*) echo "curl $*" >&2; exit 22 ;;
esac
"""


def hop_limit() -> dict[str, str]:
    """Return the command that raises the hop limit."""
    commands = yaml.safe_load(text_of(".ebextensions/metadata.config"))["commands"]
    result: dict[str, str] = commands["10-metadata-hop-limit"]
    return result


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of .ebextensions as an instance does, with fake programs first in PATH."""
    return subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def fake_program(folder: Path, name: str, script: str) -> None:
    """Put a fake program into a folder."""
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def test_metadata_hop_limit_is_raised_with_a_token(tmp_path: Path) -> None:
    fake_program(tmp_path, "curl", CURL)
    fake_program(tmp_path, "aws", f'#!/bin/sh\necho "$*" >{tmp_path}/asked\n')
    done = run(hop_limit()["command"], tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text().split() == [
        *("ec2", "modify-instance-metadata-options", "--http-endpoint", "enabled"),
        *("--http-put-response-hop-limit", "2"),
        *("--instance-id", "i-0123456789abcdef0", "--region", "eu-central-1"),
    ]


def test_metadata_hop_limit_names_a_missing_permission(tmp_path: Path) -> None:
    fake_program(tmp_path, "curl", CURL)
    fake_program(tmp_path, "aws", "#!/bin/sh\nexit 254\n")
    done = run(hop_limit()["command"], tmp_path)

    assert done.returncode == 1
    assert "needs ec2:ModifyInstanceMetadataOptions" in done.stderr


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("echo mysite-media", 0),
        ('[ "$3" = AWS_STORAGE_BUCKET_NAME ] && echo mysite-media', 0),
        ('[ "$3" = AWS_STATIC_BUCKET_NAME ] && echo mysite-static', 0),
        ("exit 1", 1),
    ],
)
def test_metadata_hop_limit_stays_without_a_bucket(
    tmp_path: Path, answer: str, wanted: int
) -> None:
    fake_program(tmp_path, "get-config", f"#!/bin/sh\n{answer}\n")
    test = hop_limit()["test"]

    assert "/opt/elasticbeanstalk/bin/get-config" in test
    here = test.replace("/opt/elasticbeanstalk/bin/", f"{tmp_path}/")
    assert run(here, tmp_path).returncode == wanted
