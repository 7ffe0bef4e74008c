"""Values from the configuration files of servers, for tests that compare them."""

import configparser
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from tests.tree import ROOT

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
NGINX_TOKEN = re.compile(
    r"""\#[^\n]* | "((?:\\.|[^"\\])*)" | '((?:\\.|[^'\\])*)' | ([{};]) | ([^\s{};"']+)""",
    re.VERBOSE,
)


def text_of(name: str) -> str:
    """Return the text of a file."""
    return (ROOT / name).read_text(encoding="utf-8")


def seconds(text: str, unit: str = "s") -> float:
    """Return a duration such as 75s, 1m15s or 250ms; `unit` is that of a bare number."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text)
    assert parts and "".join(number + name for number, name in parts) == text, text
    return sum(float(number) * UNITS[name or unit] for number, name in parts)


@cache
def limits(**environ: int | str) -> dict[str, str]:
    """Return the values that nginx/limits.sh derives from these variables or the defaults."""
    done = subprocess.run(
        ["sh", "-euc", ". nginx/limits.sh; env -0"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in environ.items()}},
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace ${X}, ${X:-default}, $(X), %(ENV_X)s or "$X" in a text with its value."""
    names = re.compile(r"\$\{(\w+)(?::-[^}]*)?\}|\$\((\w+)\)|%\(ENV_(\w+)\)s|\$(\w+)")
    return names.sub(lambda result: values[next(filter(None, result.groups()))], text).strip('"')


@dataclass(frozen=True)
class Directive:
    """One nginx directive and the blocks that it is in, such as ("http", "location /")."""

    name: str
    arguments: tuple[str, ...]
    blocks: tuple[str, ...]


# Included by both nginx servers.
FORWARD = "nginx/forward.conf"


def nginx_directives(name: str = "nginx/nginx.conf") -> list[Directive]:
    """Return every directive of an nginx file, with those of nginx/forward.conf."""
    result: list[Directive] = []
    for one in directives_of(name):
        result.append(one)
        if (one.name, one.arguments) == ("include", (f"/srv/project/{FORWARD}",)):
            result += [
                Directive(more.name, more.arguments, one.blocks) for more in directives_of(FORWARD)
            ]
    return result


def directives_of(name: str) -> list[Directive]:
    """Return the directives of a file, without included ones."""
    result: list[Directive] = []
    blocks: list[str] = []
    words: list[str] = []
    for match in NGINX_TOKEN.finditer(text_of(name)):
        if match[3] == ";":
            result.append(Directive(words[0], tuple(words[1:]), tuple(blocks)))
        elif match[3] == "{":
            blocks.append(" ".join(words))
        elif match[3] == "}":
            blocks.pop()
        elif match[0].startswith("#"):
            continue
        else:
            words.append(next(text for text in match.groups() if text is not None))
            continue
        words.clear()
    return result


def nginx_value(directive_name: str, block: str = "", name: str = "nginx/nginx.conf") -> str:
    """Return the argument of a directive that occurs once, in `block` if one is named."""
    values = {
        " ".join(directive.arguments)
        for directive in nginx_directives(name)
        if directive.name == directive_name and (not block or directive.blocks[-1:] == (block,))
    }
    assert len(values) == 1, f"{directive_name}: {values}"
    return values.pop()


def ini(name: str) -> dict[str, dict[str, str]]:
    """Return the sections of a uWSGI or supervisor file."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    parser.read_string(text_of(name))
    return {section: dict(parser[section]) for section in parser.sections()}


def uwsgi_option(name: str) -> str:
    """Return an option of uWSGI as it runs in a server container."""
    options = {**ini("uwsgi/common.ini")["uwsgi"], **ini("uwsgi/uwsgi.ini")["uwsgi"]}
    return options[name]


def supervisor_sections() -> dict[str, tuple[str, dict[str, str]]]:
    """Return name and options of the only section of each file in supervisor/programs."""
    result = {}
    for path in sorted((ROOT / "supervisor" / "programs").glob("*.conf")):
        sections = ini(str(path.relative_to(ROOT)))
        assert len(sections) == 1, f"{path.name}: {list(sections)}"
        result[path.stem] = sections.popitem()
    return result


def supervisor_programs() -> dict[str, dict[str, str]]:
    """Return the options of each program that supervisor runs."""
    return {
        section.partition("program:")[2]: options
        for section, options in supervisor_sections().values()
        if section.startswith(("program:", "fcgi-program:"))
    }


def haproxy_sections() -> dict[str, list[str]]:
    """Return the lines of each section of haproxy.cfg, such as "backend dynamic_backend"."""
    sections: dict[str, list[str]] = {}
    for line in text_of("haproxy/haproxy.cfg").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            sections[next(reversed(sections))].append(line.strip())
        else:
            sections[line.strip()] = []
    return sections


def haproxy_value(section: str, keyword: str) -> str:
    """Return the value of a keyword that occurs once in a section."""
    lines = [line for line in haproxy_sections()[section] if line.startswith(f"{keyword} ")]
    assert len(lines) == 1, f"{section}: {keyword}: {lines}"
    return lines[0].removeprefix(keyword).strip()


def haproxy_seconds(section: str, keyword: str) -> float:
    """Return a duration of haproxy.cfg, where a bare number means milliseconds."""
    return seconds(haproxy_value(section, keyword), unit="ms")


def httpd_values(name: str) -> list[str]:
    """Return the values of a directive in httpd.conf."""
    lines = (line.strip() for line in text_of("variants/apache/httpd.conf").splitlines())
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def httpd_value(name: str) -> str:
    """Return the value of a directive that occurs once in httpd.conf."""
    (value,) = httpd_values(name)
    return value


def httpd_members() -> dict[str, dict[str, str]]:
    """Return the servers that httpd.conf names, by address, each with its parameters."""
    return {
        member.split()[0]: dict(word.split("=", 1) for word in member.split()[1:])
        for member in httpd_values("BalancerMember")
    }


COMPOSE_FILES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("docker-compose*.yaml", "mysql/compose.yaml", "variants/*/*.yaml")
    for path in ROOT.glob(pattern)
)


def compose_file(name: str) -> dict[str, Any]:
    """Return the content of a compose file."""
    content: dict[str, Any] = yaml.safe_load(text_of(name))
    return content


@cache
def _resolved(variables: tuple[str, ...]) -> dict[str, Any]:
    if not shutil.which("docker"):
        pytest.skip("docker compose, which is not here, resolves the compose files")
    command = ("docker", "compose", "--env-file", os.devnull, "--profile", "*", "config")
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        (*command, "--format", "json"),
        cwd=ROOT,
        env=environment | dict(variable.split("=", 1) for variable in variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def compose(**variables: str) -> dict[str, Any]:
    """Return the project as docker compose resolves it with only these variables."""
    return _resolved(tuple(sorted(f"{name}={value}" for name, value in variables.items())))


# All options that can be combined.
ALL = {
    "APACHE": "1",
    "NGINX_BALANCER": "1",
    "MONITORING": "grafana",
    "ALERTMANAGER_CONFIG_FILE": "var/alertmanager.yml",
    "BROKER": "rabbitmq",
    "SERVER_COUNT": "6",
    "TLS_CERTIFICATE": "certs/x",
    "HTTP_IPV6_ADDRESS": "[::1]",
}


def services(**variables: str) -> dict[str, dict[str, Any]]:
    """Return the services of the stack, with all options unless variables are given."""
    result: dict[str, dict[str, Any]] = compose(**(variables or ALL))["services"]
    return result


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return the mounts of a service by container folder: a volume, or a relative path."""
    return {
        mount["target"]: str(mount["source"]).removeprefix(f"{ROOT}/")
        for mount in service.get("volumes", ())
    }


def dockerfile(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, each with its arguments on one line."""
    lines = [line for line in text_of(name).splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    result = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(instruction, arguments) for instruction, arguments in result]


def dockerfile_environment(name: str) -> dict[str, str]:
    """Return the variables that a Dockerfile's ENV lines set."""
    return {
        key: value
        for instruction, arguments in dockerfile(name)
        if instruction == "ENV"
        for key, value in re.findall(r"(\w+)=(\S+)", arguments)
    }


def health_check(name: str) -> str:
    """Return a variable of the health check in a server container."""
    (value,) = re.findall(rf"^{name}=(\w+)$", (ROOT / "supervisor/healthcheck").read_text(), re.M)
    return str(value)


def compose_servers() -> list[str]:
    """Return the services that are servers of the site."""
    return [name for name in services() if name.startswith("server")]
