"""Faults of the commands, files and resources of .config files."""

from tests.unit.ebctl_faults.bundles import Fault, config

FAULTS: dict[str, Fault] = {
    # Commands and files
    "command without `command`": (
        config("commands:\n  one:\n    cwd: /\n"),
        "command",
        2,
        "no `command`",
    ),
    "misspelt key of a command": (
        config("commands:\n  one:\n    command: true\n    ignoreError: true\n"),
        "command",
        4,
        "'ignoreErrors'",
    ),
    "leader_only outside container_commands": (
        config("commands:\n  one:\n    command: id\n    leader_only: true\n"),
        "command",
        4,
        "container_commands",
    ),
    "file mode with three digits": (
        config('files:\n  /a:\n    mode: "755"\n    content: a\n'),
        "file",
        2,
        "six digits",
    ),
    "file without content": (config("files:\n  /a:\n    owner: root\n"), "file", 2, "content"),
    "file without an absolute path": (
        config("files:\n  a:\n    content: a\n"),
        "file",
        2,
        "start with /",
    ),
    # Resources
    "misspelt resource type": (
        config("Resources:\n  Bucket:\n    Type: AWS::S3::Buckett\n"),
        "cfn-lint E3006",
        3,
        "AWS::S3::Buckett",
    ),
    "misspelt resource property": (
        config("Resources:\n  Bucket:\n    Type: AWS::S3::Bucket\n    Properties:\n      Nam: a\n"),
        "cfn-lint E3002",
        5,
        "Nam",
    ),
    "reference to an unknown resource": (
        config(
            "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n"
            "      TopicName:\n        Ref: Nothing\n"
        ),
        "cfn-lint E1020",
        6,
        "Nothing",
    ),
}
