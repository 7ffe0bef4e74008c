"""The faults that are seeded for `./ebctl lint`: each a bundle, and what has to be found in it."""

from collections.abc import Callable
from dataclasses import replace

from tests.tree import ROOT
from tools.ebctl import bundle
from tools.ebctl.bundle import Bundle, BundleFile

EXTRA = ".ebextensions/zz-fault.config"
HOOK = ".platform/hooks/postdeploy/notify"
SCRIPT = b"#!/bin/sh\nexit 0\n"
OWN = bundle.from_tree(ROOT)
ENVIRONMENT = "option_settings:\n  aws:elasticbeanstalk:application:environment:\n"


def with_file(name: str, content: str | bytes, *, executable: bool = False) -> Bundle:
    """Return the project's bundle with one more, or another, file."""
    data = content.encode() if isinstance(content, str) else content
    return Bundle({**OWN.files, name: BundleFile(data, executable)})


def config(text: str) -> Bundle:
    """Return the project's bundle with one more .config file."""
    return with_file(EXTRA, text)


def alone(text: str) -> Bundle:
    """Return the project's bundle with that .config file in place of its own."""
    files = {name: file for name, file in OWN.files.items() if ".ebextensions" not in name}
    return Bundle({**files, EXTRA: BundleFile(text.encode())})


def option(namespace: str, name: str, value: str) -> Bundle:
    """Return a bundle whose only setting is this one, in line 3."""
    return alone(f"option_settings:\n  {namespace}:\n    {name}: {value}\n")


def property_(line: str) -> Bundle:
    """Return a bundle with one more environment property, in line 3."""
    return config(f"{ENVIRONMENT}    {line}\n")


def dockerfile(change: Callable[[str], str]) -> Bundle:
    """Return the project's bundle with its Dockerfile changed."""
    return with_file("Dockerfile", change(OWN.files["Dockerfile"].text))


def without(name: str, **added: str) -> Bundle:
    """Return the project's bundle without a file, and with others by their content."""
    files = {key: file for key, file in OWN.files.items() if key != name}
    return Bundle({**files, **{key: BundleFile(text.encode()) for key, text in added.items()}})


def dockerrun(text: str) -> Bundle:
    """Return a bundle that names a prebuilt image."""
    files = {name: file for name, file in OWN.files.items() if name.startswith(".")}
    return Bundle({**files, "Dockerrun.aws.json": BundleFile(text.encode())})


ASG = "aws:autoscaling:asg"
COMMAND = "aws:elasticbeanstalk:command"
LISTENER = "aws:elbv2:listener:443"
PROCESS = "aws:elasticbeanstalk:environment:process:default"
SECRETS = "aws:elasticbeanstalk:application:environmentsecrets"

# Where a line that is added to the Dockerfile's end stands.
AFTER_THE_DOCKERFILE = len(OWN.files["Dockerfile"].text.splitlines()) + 1

# name: the bundle, the rule that finds it, the line (0: the whole file), words of the message
FAULTS: dict[str, tuple[Bundle, str, int, str]] = {
    # YAML
    "a tab": (config("option_settings:\n\taws: 1\n"), "yaml", 2, "not YAML"),
    "an empty file": (config("# nothing\n"), "yaml", 0, "empty"),
    "a list of nothing": (config("- one\n"), "yaml", 1, "no keys"),
    "a short tag": (config("Resources:\n  A: !Ref B\n"), "yaml", 2, "!Ref"),
    "a duplicate key": (
        config("files:\n  /a: {content: a}\nfiles:\n  /b: {content: b}\n"),
        "duplicate-key",
        3,
        "line 1",
    ),
    "a duplicate option": (
        alone(f"option_settings:\n  {ASG}:\n    MinSize: 2\n    MinSize: 3\n"),
        "duplicate-key",
        4,
        "line 3",
    ),
    "a key that is none": (config("option_setting: {}\n"), "key", 1, "'option_settings'"),
    "a file that is not read": (
        with_file(".ebextensions/more.yaml", "a: b\n"),
        "not-read",
        0,
        ".config",
    ),
    "nginx in the old place": (
        with_file(".ebextensions/nginx/conf.d/a.conf", "a b;\n"),
        "not-read",
        0,
        ".platform/nginx",
    ),
    # Settings
    "settings without an option": (
        config(f"option_settings:\n  {ASG}: 3\n"),
        "settings",
        2,
        "no option",
    ),
    "a setting of a list without a value": (
        config(f"option_settings:\n  - namespace: {ASG}\n    option_name: MinSize\n"),
        "settings",
        2,
        "needs",
    ),
    "an unknown namespace": (
        option("aws:autoscaling:asgs", "MinSize", "2"),
        "namespace",
        3,
        f"'{ASG}'",
    ),
    "an unknown option": (option(ASG, "MinimumSize", "2"), "option", 3, "'MinSize'"),
    "an unknown option of a named process": (
        option("aws:elasticbeanstalk:environment:process:web", "HealthPath", "/"),
        "option",
        3,
        "HealthPath",
    ),
    "a word that is none of them": (
        option(COMMAND, "DeploymentPolicy", "RollingWithAdditional"),
        "value",
        3,
        "RollingWithAdditionalBatch",
    ),
    "a truth value of YAML's": (option(COMMAND, "IgnoreHealthCheck", "no"), "value", 3, "'no'"),
    "a number out of range": (option(PROCESS, "HealthCheckInterval", "4"), "value", 3, "5 to 300"),
    "a number that is none": (option(PROCESS, "Port", "http"), "value", 3, "1 to 65535"),
    "days that there are not": (
        option("aws:elasticbeanstalk:cloudwatch:logs", "RetentionInDays", "31"),
        "value",
        3,
        "'31'",
    ),
    "a duration that is none": (
        option("aws:autoscaling:updatepolicy:rollingupdate", "PauseTime", "PT"),
        "value",
        3,
        "PT30M",
    ),
    "a path without a slash": (option(PROCESS, "HealthCheckPath", "readyz"), "value", 3, "/"),
    "a list for a value": (option(ASG, "MinSize", "[2, 3]"), "value", 3, "not a text"),
    "a value in a list": (
        alone(
            f"option_settings:\n  - namespace: {ASG}\n    option_name: MinSize\n    value: many\n"
        ),
        "value",
        2,
        "'many'",
    ),
    "a setting of two files": (
        config(f"option_settings:\n  {ASG}:\n    MaxSize: 6\n"),
        "set-twice",
        3,
        "scaling.config",
    ),
    "more at least than at most": (
        alone(f"option_settings:\n  {ASG}:\n    MinSize: 7\n    MaxSize: 6\n"),
        "together",
        3,
        "MaxSize",
    ),
    "a check that outlasts its interval": (
        alone(
            f"option_settings:\n  {PROCESS}:\n    HealthCheckTimeout: 20\n"
            "    HealthCheckInterval: 10\n"
        ),
        "together",
        3,
        "HealthCheckInterval",
    ),
    "a trigger that does not add up": (
        alone(
            "option_settings:\n  aws:autoscaling:trigger:\n    BreachDuration: 5\n"
            "    Period: 1\n    EvaluationPeriods: 3\n"
        ),
        "together",
        3,
        "Period times EvaluationPeriods",
    ),
    "managed updates without a time": (
        option("aws:elasticbeanstalk:managedactions", "ManagedActionsEnabled", '"true"'),
        "together",
        3,
        "PreferredStartTime",
    ),
    "HTTPS without a certificate": (
        option(LISTENER, "Protocol", "HTTPS"),
        "together",
        3,
        "SSLCertificateArns",
    ),
    "a certificate that is none": (
        option(LISTENER, "SSLCertificateArns", "mine"),
        "value",
        3,
        "ARN",
    ),
    # What the eb client does
    "a batch that the client overrides": (
        option(COMMAND, "BatchSize", "1"),
        "overridden",
        3,
        "default.cfg.yml",
    ),
    "health reports that the client overrides": (
        option("aws:elasticbeanstalk:healthreporting:system", "SystemType", "basic"),
        "overridden",
        3,
        "'enhanced'",
    ),
    "a role that the client overrides": (
        option("aws:elasticbeanstalk:environment", "ServiceRole", "mine"),
        "overridden",
        3,
        "--service-role",
    ),
    # Properties and secrets
    "a secret of the project's": (property_("DJANGO_SECRET_KEY: abc"), "secret", 3, "setenv"),
    "a database's URL": (property_("DATABASE_URL: mysql://a@b/c"), "secret", 3, "setenv"),
    "a secret of another's": (property_("STRIPE_API_KEY: abc"), "secret", 3, "setenv"),
    "a password in a URL": (
        property_("BROKER: redis://:word@cache:6379/0"),
        "secret",
        3,
        "setenv",
    ),
    "a database's password": (
        option("aws:rds:dbinstance", "DBPassword", "abc"),
        "secret",
        3,
        "secret",
    ),
    "a secret by its value": (
        config(f"option_settings:\n  {SECRETS}:\n    DJANGO_SECRET_KEY: abc\n"),
        "secret",
        3,
        "ARN",
    ),
    "properties that are too long": (
        property_(f"LONG: {'x' * 4096}"),
        "too-long",
        3,
        "4096",
    ),
    "a value of two lines": (
        property_("TEXT: |-\n      one\n      two"),
        "property",
        3,
        "several lines",
    ),
    "quotes that would stay": (property_("""TEXT: "'quoted'" """), "property", 3, "quotes"),
    "a value that the container refuses": (
        alone(f"{ENVIRONMENT}    DRAIN_SECONDS: 600\n"),
        "property",
        3,
        "DRAIN_SECONDS",
    ),
    "requests that the load balancer cuts off": (
        alone(
            f"{ENVIRONMENT}    REQUEST_SECONDS: 47\n"
            "  aws:elbv2:loadbalancer:\n    IdleTimeout: 57\n"
        ),
        "together",
        5,
        "the instance's nginx waits 57 s",
    ),
    "a name that is none": (property_("MY-NAME: a"), "property", 3, "name"),
    # Commands and files
    "a command without a command": (
        config("commands:\n  one:\n    cwd: /\n"),
        "command",
        2,
        "no `command`",
    ),
    "a misspelt part of a command": (
        config("commands:\n  one:\n    command: true\n    ignoreError: true\n"),
        "command",
        4,
        "'ignoreErrors'",
    ),
    "a leader where there is none": (
        config("commands:\n  one:\n    command: id\n    leader_only: true\n"),
        "command",
        4,
        "container_commands",
    ),
    "a mode in three digits": (
        config('files:\n  /a:\n    mode: "755"\n    content: a\n'),
        "file",
        2,
        "six digits",
    ),
    "a file without content": (config("files:\n  /a:\n    owner: root\n"), "file", 2, "content"),
    "a file at no path": (config("files:\n  a:\n    content: a\n"), "file", 2, "start with /"),
    # Resources
    "a resource of a misspelt type": (
        config("Resources:\n  Bucket:\n    Type: AWS::S3::Buckett\n"),
        "cfn-lint E3006",
        3,
        "AWS::S3::Buckett",
    ),
    "a misspelt property of a resource": (
        config("Resources:\n  Bucket:\n    Type: AWS::S3::Bucket\n    Properties:\n      Nam: a\n"),
        "cfn-lint E3002",
        5,
        "Nam",
    ),
    "a reference to nothing": (
        config(
            "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n"
            "      TopicName:\n        Ref: Nothing\n"
        ),
        "cfn-lint E1020",
        6,
        "Nothing",
    ),
    # .platform
    "a hook that may not be run": (with_file(HOOK, SCRIPT), "exec-bit", 0, "chmod"),
    "a hook without an interpreter": (
        with_file(HOOK, "exit 0\n", executable=True),
        "exec-bit",
        1,
        "#!",
    ),
    "a hook with Windows line ends": (
        with_file(HOOK, SCRIPT.replace(b"\n", b"\r\n"), executable=True),
        "exec-bit",
        1,
        "CR LF",
    ),
    "a hook in a place that is none": (
        with_file(".platform/hooks/afterdeploy/a", SCRIPT, executable=True),
        "not-read",
        0,
        "postdeploy",
    ),
    "a folder that nothing reads": (
        with_file(".platform/ngnix/conf.d/a.conf", "a b;\n"),
        "not-read",
        0,
        "nginx",
    ),
    "an nginx file that is not read": (
        with_file(".platform/nginx/conf.d/a.config", "a b;\n"),
        "not-read",
        0,
        "conf.d/*.conf",
    ),
    "an nginx line without its end": (
        with_file(".platform/nginx/conf.d/a.conf", "client_max_body_size 1m\n"),
        "nginx",
        1,
        "lacks its ;",
    ),
    "an nginx block without its end": (
        with_file(".platform/nginx/conf.d/a.conf", "map $a $b {\n  c d;\n"),
        "nginx",
        2,
        "without its }",
    ),
    "a directive that the platform has": (
        with_file(".platform/nginx/conf.d/elasticbeanstalk/a.conf", "\nkeepalive_timeout 75s;\n"),
        "nginx",
        2,
        "keepalive_timeout",
    ),
    "an nginx.conf without the platform's part": (
        with_file(".platform/nginx/nginx.conf", "events {}\n"),
        "nginx",
        0,
        "include",
    ),
    # The container
    "a Dockerfile without EXPOSE": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "")),
        "expose",
        0,
        "EXPOSE 7999",
    ),
    "an EXPOSE by a variable": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "EXPOSE $PORT\n")),
        "expose",
        0,
        "number",
    ),
    "a first image of the project's own": (
        dockerfile(lambda text: "FROM mysite-base\n" + text),
        "from",
        1,
        "mysite-base",
    ),
    "a first image by a variable": (
        dockerfile(lambda text: "ARG BASE\nFROM $BASE\n" + text),
        "from",
        2,
        "$BASE",
    ),
    "a copy of what is not sent": (
        dockerfile(lambda text: text + "COPY docs /docs\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        "not in the bundle",
    ),
    "a copy of what is kept out": (
        dockerfile(lambda text: text + "COPY .ebextensions /x\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        ".dockerignore",
    ),
    "a syntax of a registry's": (
        dockerfile(lambda text: "# syntax=docker/dockerfile:1\n" + text),
        "syntax",
        1,
        "syntax",
    ),
    "a flag that is too new": (
        dockerfile(lambda text: text + "COPY --parents nginx /x\n"),
        "syntax",
        AFTER_THE_DOCKERFILE,
        "--parents",
    ),
    "a Dockerfile of another name": (
        without("Dockerfile", dockerfile=OWN.files["Dockerfile"].text),
        "no-container",
        0,
        "dockerfile",
    ),
    "a compose file": (
        with_file("docker-compose.yml", "services: {}\n"),
        "compose",
        0,
        "instead of",
    ),
    "a .env": (with_file(".env", "A=b\n"), "stray", 0, "secrets"),
    "an .ebignore": (with_file(".ebignore", "\n"), "stray", 0, "whole folder"),
    "a bundle that is too large": (
        replace(OWN, size=600 * 1024 * 1024),
        "too-long",
        0,
        "bytes",
    ),
    "a Dockerrun that is no JSON": (dockerrun('{\n"a": }\n'), "dockerrun", 2, "JSON"),
    "a Dockerrun of another platform": (
        dockerrun('{"AWSEBDockerrunVersion": 2}'),
        "dockerrun",
        0,
        "has to be 1",
    ),
    "an image by its tag": (
        dockerrun('{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a:1"}, "Ports": [{}]}'),
        "dockerrun",
        0,
        "digest",
    ),
    "an image beside a Dockerfile": (
        with_file(
            "Dockerrun.aws.json",
            '{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a"}, "Ports": [{}]}',
        ),
        "dockerrun",
        0,
        "beside a Dockerfile",
    ),
}
