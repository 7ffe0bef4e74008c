"""Each setting of each configuration file has a row in tests/settings.toml."""

import ast
import re
import tomllib
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.tree import ROOT, tracked_files
from tests.unit.config_files import COMPOSE_FILES, dockerfile, haproxy_sections, ini, text_of

TABLE: dict[str, dict[str, list[str]]] = tomllib.loads(text_of("tests/settings.toml"))
# HAProxy keywords that need their next word.
FAMILIES = {
    "http-after-response",
    "http-check",
    "http-request",
    "http-response",
    "option",
    "timeout",
}
FAMILIES |= {"hold", "stats", "acl", "default-server"}


def haproxy() -> set[str]:
    """Return the keywords of haproxy.cfg."""
    lines = [line.split() for lines in haproxy_sections().values() for line in lines]
    plain = [words for words in lines if not words[0].startswith(".") and words[0] != "server"]
    return {" ".join(words[: 1 + (words[0] in FAMILIES)]) for words in plain}


def nginx(name: str) -> set[str]:
    """Return the directives of an nginx file; a map and a list of types are one each."""
    text = re.sub(r"""#[^\n]*|"[^"]*"|'[^']*'""", "x", text_of(name))
    text = re.sub(r"\b(map|types)\b[^{]*\{[^}]*\}", r"\1;", text)
    words = re.findall(r"(?:^|[;{}])\s*(?:x\s+)*([a-z_]+)", text)
    return set(words)


def httpd() -> set[str]:
    """Return the directives of httpd.conf."""
    lines = (line.strip() for line in text_of("variants/apache/httpd.conf").splitlines())
    return {line.split()[0] for line in lines if re.match(r"[A-Z]", line)}


def pairs(name: str) -> set[str]:
    """Return the names of a file of `name = value` or `name value` lines."""
    lines = (line.strip() for line in text_of(name).splitlines())
    return {re.split(r"[ =]", line)[0] for line in lines if re.match(r"[a-z]", line)}


def sections(name: str) -> set[str]:
    """Return the names in an ini file's sections."""
    return {option for options in ini(name).values() for option in options}


def assigned(name: str) -> set[str]:
    """Return the names that a Python file defines at module level."""
    result = set()
    for node in ast.parse(text_of(name)).body:
        if isinstance(node, ast.FunctionDef):
            result.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        result |= {target.id for target in targets if isinstance(target, ast.Name)}
    return result


def compose(name: str) -> set[str]:
    """Return the keys of services and networks in a compose file."""
    content: dict[str, Any] = yaml.safe_load(text_of(name))
    groups = [content.get(group) or {} for group in ("services", "networks")]
    return {key for group in groups for one in group.values() if one for key in one}


def prometheus(name: str) -> set[str]:
    """Return the settings of Prometheus, those of its jobs among them."""
    content: dict[str, Any] = yaml.safe_load(text_of(name))
    jobs = content.pop("scrape_configs")
    sections = [*jobs, *(part for part in content.values() if isinstance(part, dict))]
    alone = {key for key, part in content.items() if not isinstance(part, dict)}
    return alone | {key for section in sections for key in section}


def beanstalk(name: str) -> set[str]:
    """Return the settings of a file of .ebextensions."""
    content: dict[str, Any] = yaml.safe_load(text_of(name))
    options = content.get("option_settings", {})
    return {key for group in options.values() for key in group} | content.get("commands", {}).keys()


def settings() -> dict[str, set[str]]:
    """Return the settings of each configuration file."""
    result = {"haproxy/haproxy.cfg": haproxy(), "variants/apache/httpd.conf": httpd()}
    for name in ("variants/gunicorn/config.py", "variants/asgi/config.py"):
        result[name] = assigned(name)
    result["variants/monitoring/prometheus.yml"] = prometheus("variants/monitoring/prometheus.yml")
    for name in map(str, tracked_files()):
        if name.startswith(("nginx/", "variants/nginx-balancer/", ".platform/")) and name.endswith(
            ".conf"
        ):
            result[name] = nginx(name)
        elif name.startswith(("uwsgi/", "supervisor/")) and name.endswith((".ini", ".conf")):
            result[name] = sections(name)
        elif re.fullmatch(
            r"redis/redis\.conf|variants/rabbitmq/rabbitmq\.conf|variants/kafka/.+\.properties"
            r"|mysql/conf\.d/.+|variants/postgres/.+\.conf",
            name,
        ):
            result[name] = pairs(name)
        elif name in COMPOSE_FILES:
            result.setdefault("compose files", set()).update(compose(name))
        elif re.fullmatch(r"Dockerfile\.\w+", name):
            result[name] = {instruction for instruction, _ in dockerfile(name)}
        elif name.startswith(".ebextensions/"):
            result[name] = beanstalk(name)
    return result


SETTINGS = settings()


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_has_one_row_in_settings_toml(name: str) -> None:
    rows = Counter(setting for listed in TABLE.get(name, {}).values() for setting in listed)

    assert set(rows) ^ SETTINGS[name] == set()
    assert [setting for setting, count in rows.items() if count > 1] == []


def test_settings_toml_names_existing_files_and_tests() -> None:
    """A key is a test id below tests/, or the reason why no test is possible."""
    assert set(TABLE) == set(SETTINGS)
    named = {key for rows in TABLE.values() for key in rows if "::" in key}
    missing = []
    for key in named:
        file, _, test = key.partition("::")
        path = ROOT / "tests" / file
        if not path.is_file() or f"\ndef {test}(" not in path.read_text():
            missing.append(key)
    assert missing == []
