"""Faults of hooks and of nginx's files in .platform."""

from tests.unit.ebctl_faults.bundles import Fault, with_file

HOOK = ".platform/hooks/postdeploy/notify"
SCRIPT = b"#!/bin/sh\nexit 0\n"

FAULTS: dict[str, Fault] = {
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
}
