"""Faults of .config files and of option_settings."""

from tests.unit.ebctl_faults.bundles import Fault, alone, config, option, with_file

ASG = "aws:autoscaling:asg"
COMMAND = "aws:elasticbeanstalk:command"
LISTENER = "aws:elbv2:listener:443"
PROCESS = "aws:elasticbeanstalk:environment:process:default"

FAULTS: dict[str, Fault] = {
    # YAML
    "tab": (config("option_settings:\n\taws: 1\n"), "yaml", 2, "not YAML"),
    "empty file": (config("\n"), "yaml", 0, "empty"),
    "file with a list": (config("- one\n"), "yaml", 1, "no keys"),
    "short YAML tag": (config("Resources:\n  A: !Ref B\n"), "yaml", 2, "!Ref"),
    "duplicate key": (
        config("files:\n  /a: {content: a}\nfiles:\n  /b: {content: b}\n"),
        "duplicate-key",
        3,
        "line 1",
    ),
    "duplicate option": (
        alone(f"option_settings:\n  {ASG}:\n    MinSize: 2\n    MinSize: 3\n"),
        "duplicate-key",
        4,
        "line 3",
    ),
    "unknown key": (config("option_setting: {}\n"), "key", 1, "'option_settings'"),
    "file with another suffix": (
        with_file(".ebextensions/more.yaml", "a: b\n"),
        "not-read",
        0,
        ".config",
    ),
    "nginx in the old folder": (
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
    "setting in a list without a value": (
        config(f"option_settings:\n  - namespace: {ASG}\n    option_name: MinSize\n"),
        "settings",
        2,
        "needs",
    ),
    "unknown namespace": (
        option("aws:autoscaling:asgs", "MinSize", "2"),
        "namespace",
        3,
        f"'{ASG}'",
    ),
    "unknown option": (option(ASG, "MinimumSize", "2"), "option", 3, "'MinSize'"),
    "unknown option of a named process": (
        option("aws:elasticbeanstalk:environment:process:web", "HealthPath", "/"),
        "option",
        3,
        "HealthPath",
    ),
    "invalid choice": (
        option(COMMAND, "DeploymentPolicy", "RollingWithAdditional"),
        "value",
        3,
        "RollingWithAdditionalBatch",
    ),
    "YAML boolean": (option(COMMAND, "IgnoreHealthCheck", "no"), "value", 3, "'no'"),
    "number out of range": (option(PROCESS, "HealthCheckInterval", "4"), "value", 3, "5 to 300"),
    "invalid number": (option(PROCESS, "Port", "http"), "value", 3, "1 to 65535"),
    "invalid number of days": (
        option("aws:elasticbeanstalk:cloudwatch:logs", "RetentionInDays", "31"),
        "value",
        3,
        "'31'",
    ),
    "invalid duration": (
        option("aws:autoscaling:updatepolicy:rollingupdate", "PauseTime", "PT"),
        "value",
        3,
        "PT30M",
    ),
    "path without a slash": (option(PROCESS, "HealthCheckPath", "readyz"), "value", 3, "/"),
    "list instead of a value": (option(ASG, "MinSize", "[2, 3]"), "value", 3, "not a text"),
    "invalid value in a list": (
        alone(
            f"option_settings:\n  - namespace: {ASG}\n    option_name: MinSize\n    value: many\n"
        ),
        "value",
        2,
        "'many'",
    ),
    "option set in two files": (
        config(f"option_settings:\n  {ASG}:\n    MaxSize: 6\n"),
        "set-twice",
        3,
        "scaling.config",
    ),
    "MinSize above MaxSize": (
        alone(f"option_settings:\n  {ASG}:\n    MinSize: 7\n    MaxSize: 6\n"),
        "together",
        3,
        "MaxSize",
    ),
    "health check timeout above its interval": (
        alone(
            f"option_settings:\n  {PROCESS}:\n    HealthCheckTimeout: 20\n"
            "    HealthCheckInterval: 10\n"
        ),
        "together",
        3,
        "HealthCheckInterval",
    ),
    "inconsistent scaling trigger": (
        alone(
            "option_settings:\n  aws:autoscaling:trigger:\n    BreachDuration: 5\n"
            "    Period: 1\n    EvaluationPeriods: 3\n"
        ),
        "together",
        3,
        "Period times EvaluationPeriods",
    ),
    "managed updates without a start time": (
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
    "invalid certificate ARN": (
        option(LISTENER, "SSLCertificateArns", "mine"),
        "value",
        3,
        "ARN",
    ),
    # Overrides of the eb client
    "batch size that the eb client overrides": (
        option(COMMAND, "BatchSize", "1"),
        "overridden",
        3,
        "default.cfg.yml",
    ),
    "health reporting that the eb client overrides": (
        option("aws:elasticbeanstalk:healthreporting:system", "SystemType", "basic"),
        "overridden",
        3,
        "'enhanced'",
    ),
    "role that the eb client overrides": (
        option("aws:elasticbeanstalk:environment", "ServiceRole", "mine"),
        "overridden",
        3,
        "--service-role",
    ),
}
