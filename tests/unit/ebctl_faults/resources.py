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
    # Other platforms
    "path of Windows": (
        config("files:\n  'c:\\conf\\app.ini':\n    content: a\n"),
        "platform",
        2,
        "Windows",
    ),
    "command of Windows": (
        config("commands:\n  one:\n    command: dir\n    waitAfterCompletion: 0\n    nmae: a\n"),
        "platform",
        4,
        "waitAfterCompletion",
    ),
    "option of the PHP platform": (
        config("option_settings:\n  aws:elasticbeanstalk:container:php:phpini:\n    a: b\n"),
        "platform",
        2,
        "PHP",
    ),
    "option of the Python platform in a list": (
        config(
            "option_settings:\n  - namespace: aws:elasticbeanstalk:container:python\n"
            "    option_name: WSGIPath\n    value: a\n"
        ),
        "platform",
        2,
        "Python",
    ),
    # Resources
    "resources without a resource": (config("Resources: none\n"), "resource", 1, "nothing below"),
    "attribute that a queue of the worker tier lacks": (
        config(
            "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n"
            "      TopicName:\n        Fn::GetAtt: [AWSEBWorkerQueue, Name]\n"
        ),
        "cfn-lint E1010",
        6,
        "QueueName",
    ),
    "map without the key": (
        config(
            "Mappings:\n  Names: {one: {short: a}}\nResources:\n  Topic:\n"
            "    Type: AWS::SNS::Topic\n    Properties:\n      TopicName:\n"
            "        Fn::FindInMap: [Names, two, short]\n"
        ),
        "cfn-lint E1011",
        8,
        "two",
    ),
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
