"""Misspelt names: close to a variable of the contract, but not in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from .contract import VARIABLES
from .fault import Fault
from .files import SUFFIX

# Names of other programs that are close to ours.
_FOREIGN: Final = (
    *("COMPOSE_", "DOCKER_", "BUILDX_"),
    "MYSQL_",  # remove_mysql
    "POSTGRES_",  # remove_postgres
    "RABBITMQ_",  # remove_rabbitmq
)
# What AWS's command-line tools and SDKs read, by families; any other AWS_* is meant for us.
# https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
_AWS: Final = re.compile(
    r"AWS_(PROFILE|REGION|PAGER|CONFIG_FILE|CA_BUNDLE|MAX_ATTEMPTS|SECURITY_TOKEN|DATA_PATH"
    r"|(ACCOUNT|AUTH|CLI|CONTAINER|CREDENTIAL|CSM|DEFAULT|DEFAULTS|DISABLE|EB|EC2|ENDPOINT|EXECUTION"
    r"|IGNORE|IMDS|LAMBDA|LOGIN|METADATA|REQUEST|RESPONSE|RETRY|ROLE|SDK|SESSION|SHARED|SIGV4A|STS"
    r"|USE|WEB_IDENTITY|S3_(DISABLE|USE|US_EAST_1))_\w+)"
)
# What many other projects call the same thing.
_ELSEWHERE: Final = {
    "DB_DATABASE": "DB_NAME",
    "DB_HOSTNAME": "DB_HOST",
    "DB_PASS": "DB_PASSWORD",
    "DB_USERNAME": "DB_USER",
    "REDIS_HOSTNAME": "REDIS_HOST",
    "REDIS_PASS": "REDIS_PASSWORD",
    "REDIS_PORT": "REDIS_URL",
    "REDIS_DB": "REDIS_URL",
    "AWS_BUCKET": "AWS_STORAGE_BUCKET_NAME",
    "AWS_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
}
# Names that had a meaning, each with the one that has it now.
FORMER: Final = {"SERVER3": "SERVER_COUNT"}
# The process environment is full of other programs' names, so there only a slip of a letter or
# two counts; everything in .env is meant for us.
_CUTOFF_ENVIRON: Final = 0.88
_CUTOFF_DOTENV: Final = 0.78
_LENGTHS: Final = 2
# REDIS_HOSTNAME does not mean RDS_HOSTNAME: a right prefix was meant.  # remove_beanstalk
_PREFIXES: Final = frozenset(name.partition("_")[0] for name in VARIABLES if "_" in name)


def known() -> frozenset[str]:
    """Return every name that means something to the project."""
    files = {name + SUFFIX for name, variable in VARIABLES.items() if variable.secret}
    return frozenset(VARIABLES) | files


def foreign(name: str) -> bool:
    """Return whether a name belongs to another program that reads the same `.env`."""
    return name.startswith(_FOREIGN) or _AWS.fullmatch(name) is not None


def near_misses(
    environ: Mapping[str, str], dotenv: Iterable[str], scopes: Iterable[str]
) -> list[Fault]:
    """Return a fault for each unknown name that is close to a variable which is not set."""
    declared = known()
    in_dotenv = set(dotenv)
    wanted = {
        name
        for name in declared
        if VARIABLES[base(name)].scope in set(scopes)
        and not (environ.get(base(name)) or environ.get(base(name) + SUFFIX))
    }
    faults = []
    for name in sorted(set(environ) | in_dotenv):
        if name in declared or foreign(name):
            continue
        if name in FORMER and (environ.get(name) or name in in_dotenv):
            hint = f"Remove it, and set {FORMER[name]} (docs/environment.md)."
            faults.append(Fault(name, "it is no longer used", hint))
            continue
        if fault := _no_file(name) or _near(name, wanted, name in in_dotenv):
            faults.append(fault)
    return faults


def base(name: str) -> str:
    """Return the variable that a name belongs to: X for X_FILE."""
    return name if name in VARIABLES else name.removesuffix(SUFFIX)


def _no_file(name: str) -> Fault | None:
    variable = VARIABLES.get(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    if variable is None:
        return None
    problem = f"only secrets can come from a file, and {variable.name} is not a secret"
    return Fault(name, problem, f"Set {variable.name}.")


def _near(name: str, wanted: set[str], in_dotenv: bool) -> Fault | None:
    close: list[str] = []
    if in_dotenv:
        called = (_ELSEWHERE.get(name, ""), f"DJANGO_{name}", f"DB_{name}")
        close = [other for other in called if other in wanted]
    if not close and (in_dotenv or "_" in name):
        cutoff = _CUTOFF_DOTENV if in_dotenv else _CUTOFF_ENVIRON
        prefix = name.upper().partition("_")[0]
        if prefix in _PREFIXES:
            wanted = {other for other in wanted if other.startswith(f"{prefix}_")}
        close = difflib.get_close_matches(name.upper(), sorted(wanted), n=1, cutoff=cutoff)
        if close and not in_dotenv and abs(len(close[0]) - len(name)) > _LENGTHS:
            return None
    if not close:
        return None
    problem = f"it is not used, and {close[0]} is not set"
    return Fault(name, problem, f"Did you mean {close[0]}?", explains=close[0].removesuffix(SUFFIX))
