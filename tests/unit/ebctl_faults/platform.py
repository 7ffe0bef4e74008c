"""Faults of hooks and nginx files in .platform."""

from tests.unit.ebctl_faults.bundles import Fault, with_file

HOOK = ".platform/hooks/postdeploy/notify"
SCRIPT = b"#!/bin/sh\nexit 0\n"

FAULTS: dict[str, Fault] = {
    "hook that is not executable": (with_file(HOOK, SCRIPT), "exec-bit", 0, "chmod"),
    "hook without an interpreter": (
        with_file(HOOK, "exit 0\n", executable=True),
        "exec-bit",
        1,
        "#!",
    ),
    "hook with Windows line ends": (
        with_file(HOOK, SCRIPT.replace(b"\n", b"\r\n"), executable=True),
        "exec-bit",
        1,
        "CR LF",
    ),
    "hook in an unknown folder": (
        with_file(".platform/hooks/afterdeploy/a", SCRIPT, executable=True),
        "not-read",
        0,
        "postdeploy",
    ),
    "unknown folder of .platform": (
        with_file(".platform/ngnix/conf.d/a.conf", "a b;\n"),
        "not-read",
        0,
        "nginx",
    ),
    "nginx file with another suffix": (
        with_file(".platform/nginx/conf.d/a.config", "a b;\n"),
        "not-read",
        0,
        "conf.d/*.conf",
    ),
    "nginx directive without semicolon": (
        with_file(".platform/nginx/conf.d/a.conf", "client_max_body_size 1m\n"),
        "nginx",
        1,
        "lacks its ;",
    ),
    "nginx block without closing brace": (
        with_file(".platform/nginx/conf.d/a.conf", "map $a $b {\n  c d;\n"),
        "nginx",
        2,
        "without its }",
    ),
    "nginx directive that the platform sets": (
        with_file(".platform/nginx/conf.d/elasticbeanstalk/a.conf", "\nkeepalive_timeout 75s;\n"),
        "nginx",
        2,
        "keepalive_timeout",
    ),
    "nginx.conf without the include of the platform": (
        with_file(".platform/nginx/nginx.conf", "events {}\n"),
        "nginx",
        0,
        "include",
    ),
}
