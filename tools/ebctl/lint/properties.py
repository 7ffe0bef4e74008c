"""Environment properties: what the container gets, and what must not be among them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.environment.contract import VARIABLES
from ops.environment.fault import InvalidValueError
from tools.ebctl.lint.finding import Finding
from tools.ebctl.lint.settings import PROPERTIES, SECRETS, Setting

# All of them together, as NAME=value. https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/environments-cfg-softwaresettings.html
LONGEST = 4096
SECRET_NAME = re.compile(
    r"(PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY|API_?KEY|ACCESS_KEY(_ID)?|CREDENTIALS?)$"
)
ARN = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:\d{12}:\S+")
# A URL with a password in it, as brokers and caches have.
PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(settings: list[Setting]) -> Iterator[Finding]:
    """Yield what is wrong with the properties, by themselves and together."""
    plain = [item for item in settings if item.namespace == PROPERTIES]
    secret = [item for item in settings if item.namespace == SECRETS]
    for item in plain:
        yield from check_plain(item)
    for item in secret:
        if not (item.computed or ARN.fullmatch(item.value)):
            message = "a secret is named by the ARN of Secrets Manager or Parameter Store"
            yield item.finding(message, "secret")
    for item in plain:
        if item.name in {other.name for other in secret}:
            yield item.finding("it is among the secrets too", "together")
    length = sum(len(f"{item.name}={item.value}".encode()) for item in plain)
    if length > LONGEST:
        message = f"all properties together are {length} bytes; {LONGEST} is the most"
        yield Finding(plain[-1].file, plain[-1].line, message, "too-long")


def check_plain(item: Setting) -> Iterator[Finding]:
    """Yield what is wrong with one property."""
    if not NAME.fullmatch(item.name):
        yield item.finding("this is not a valid variable name", "property")
    if is_secret(item.name) or PASSWORD_IN_URL.match(item.value):
        yield item.finding(
            f"a secret in a file is public to all who see it; name it below {SECRETS}, or use "
            "`eb setenv`",
            "secret",
        )
        return
    if "\n" in item.value:
        yield item.finding("a value of several lines does not reach the container", "property")
    elif re.fullmatch(r"""(["']).*\1""", item.value):
        yield item.finding("the quotes would be part of the value; write none", "property")
    elif not item.computed:
        yield from by_declaration(item)


def is_secret(name: str) -> bool:
    """Return whether a variable's value is secret."""
    declared = VARIABLES.get(name)
    return declared.secret if declared else bool(SECRET_NAME.search(name))


def by_declaration(item: Setting) -> Iterator[Finding]:
    """Yield a value that the container would refuse when it starts."""
    declared = VARIABLES.get(item.name)
    if declared and item.value:
        try:
            declared.parse(item.value)
        except InvalidValueError as error:
            yield item.finding(f"{error.problem}. {error.hint}".strip(), "property")
