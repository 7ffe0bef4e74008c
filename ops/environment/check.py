"""The checks: all faults of an environment at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from . import backup_target, broker, database, mail, names, redis, slow_paths, static
from .contract import PROJECT_FAULTS, VARIABLES
from .dotenv import DotEnv
from .fault import Fault, InvalidValueError, with_explanations
from .files import is_unreadable, text_of
from .variable import SHARED, Kind, Scope, Value, Variable

BUILD: Final = "DJANGO_BUILD"
COMMAND: Final = "./manage.py env"
ALL_SCOPES: Final = frozenset(Scope)

# As Django's own check of the key, which runs only with `check --deploy`:
# https://docs.djangoproject.com/en/5.2/ref/checks/#security (security.W009)
_KEY_LENGTH: Final = 50
_KEY_VARIETY: Final = 5
_KEY_INSECURE: Final = "django-insecure-"
_PRELOAD_SECONDS: Final = 31_536_000

# The ports on the host that must differ, and the variable with which each is in use; empty: always.
# remove_nginx-balancer: begin
# Not NGINX_BALANCER_PORT: in HAProxy's place (`--scale haproxy=0`) it may well be HTTP_PORT.
# remove_nginx-balancer: end
PUBLISHED: Final[Mapping[str, str]] = {
    "HTTP_PORT": "",
    "STATS_PORT": "",
    "HTTPS_PORT": "TLS_CERTIFICATE",
    "PROMETHEUS_PORT": "MONITORING",
    "GRAFANA_PORT": "MONITORING",
    "NGINX_PORT": "APACHE",  # remove_apache
    "APACHE_PORT": "APACHE",  # remove_apache
}

# The value of what is not set and has no default; None for a number.
_EMPTY: Final[Mapping[Kind, Value]] = {
    Kind.TEXT: "",
    Kind.CHOICE: "",
    Kind.URL: "",
    Kind.DATABASE_URL: "",
    Kind.LIST: (),
}


@dataclass(frozen=True, slots=True)
class Examination:
    """The values that an environment gives, and the faults in it."""

    values: Mapping[str, Value]
    faults: tuple[Fault, ...]
    building: bool


def faults(
    environment: Mapping[str, str],
    layer: str,
    scopes: Iterable[str] = ALL_SCOPES,
    dotenv: DotEnv | None = None,
    *,
    installed: bool = False,
) -> list[Fault]:
    """Return all faults of an environment for a layer; none when it is right."""
    return list(examine(environment, layer, scopes, dotenv, installed=installed).faults)


def warnings(environ: Mapping[str, str], layer: str) -> list[Fault]:
    """Return what lets a stack start, but not be used, or not fully."""
    values = examine(environ, layer).values
    return [
        *_redirects_nowhere(values),
        *mail.warnings(values),
        *backup_target.warnings(values),
        *_too_little_memory(values),  # remove_demo
    ]


def _redirects_nowhere(values: Mapping[str, Value]) -> list[Fault]:
    https = values["TLS_CERTIFICATE"] or values["TRUSTED_PROXIES"]
    if not values["DJANGO_SECURE_SSL_REDIRECT"] or https:
        return []
    problem = (
        "every page redirects to https, but TLS_CERTIFICATE is not set: no server listens there"
    )
    hint = (
        "Set TLS_CERTIFICATE (`make certs` makes one for localhost; docs/tls.md). "
        "To try the site by http, set DJANGO_SECURE_SSL_REDIRECT=false. Behind a proxy that ends "
        "TLS, set TRUSTED_PROXIES to its address (docs/behind-a-proxy.md)."
    )
    return [Fault("DJANGO_SECURE_SSL_REDIRECT", problem, hint)]


# remove_demo: begin
def _too_little_memory(values: Mapping[str, Value]) -> list[Fault]:
    """Compare what the worker's images may take at once with its container's limit."""
    tasks, megapixels = values["WORKER_CONCURRENCY"], values["UPLOAD_MAX_MEGAPIXELS"]
    limit = str(values["APP_MEMORY"])
    if not (isinstance(tasks, int) and isinstance(megapixels, int) and limit):
        return []
    megabytes = int(limit[:-1]) * (1024 if limit.endswith("g") else 1)
    needed = tasks * image_bytes(megapixels) // 2**20
    if needed <= megabytes:
        return []
    problem = (
        f"it is {tasks}, and that many images of {megapixels} megapixels may need {needed} MB at "
        f"once; the worker's container has {limit}"
    )
    hint = f"Set APP_MEMORY={needed + 256}m, or lower WORKER_CONCURRENCY or UPLOAD_MAX_MEGAPIXELS."
    return [Fault("WORKER_CONCURRENCY", problem, hint)]


def image_bytes(megapixels: int) -> int:
    """Return how many bytes of memory decoding an image may take.

    Args:
        megapixels: its size in million pixels.
    """
    # WebP takes the most: 16 bytes a pixel.
    return megapixels * 20_000_000 + 128 * 2**20


# remove_demo: end


def examine(
    environ: Mapping[str, str],
    layer: str,
    scopes: Iterable[str] = ALL_SCOPES,
    dotenv: DotEnv | None = None,
    *,
    installed: bool = False,
) -> Examination:
    """Read every variable of the scopes.

    Args:
        environ: the environment.
        layer: the layer that it is for.
        scopes: the scopes whose variables are read.
        dotenv: what `.env` put into the environment.
        installed: also check that the packages that the values need are installed. Only where
            the application runs: the host has other packages than the image.
    """
    dotenv = dotenv or DotEnv()
    scopes = frozenset(scopes)
    faults = [*PROJECT_FAULTS, *dotenv.faults, *_misplaced(dotenv)]
    building = _is_building(environ)
    values: dict[str, Value] = {}
    broken: set[str] = set()
    for variable in VARIABLES.values():
        if variable.scope in scopes:
            before = len(faults)
            # The stack's check may be another user's than root's, as whom env-check reads the file.
            # A line of .env that could not be read is a fault of its own.
            unknown = (Scope.STACK in scopes and is_unreadable(variable, environ)) or (
                variable.name in dotenv.unreadable and not environ.get(variable.name)
            )
            values[variable.name] = (
                _EMPTY.get(variable.kind)
                if unknown
                else _value(variable, environ, layer, building, faults)
            )
            if unknown or len(faults) > before:
                broken.add(variable.name)
    faults += _across(values, layer, scopes, building, broken)
    if installed and not building and Scope.DJANGO in scopes:
        faults += broker.client_faults(values, broken)
    faults = with_explanations(faults, names.near_misses(environ, dotenv.values, scopes))
    return Examination(values, tuple(faults), building)


def _is_building(environ: Mapping[str, str]) -> bool:
    try:
        return bool(environ.get(BUILD) and VARIABLES[BUILD].parse(environ[BUILD]))
    except InvalidValueError:
        return False  # reported with the other values


def _misplaced(dotenv: DotEnv) -> list[Fault]:
    """Return a fault for each variable that must not be in `.env`."""
    hint = "Remove it from there."
    return [
        Fault(name, "it is in .env, where it would apply to every command", hint)
        for name, value in dotenv.values.items()
        if value and name in VARIABLES and not VARIABLES[name].in_dotenv
    ]


def _value(
    variable: Variable,
    environ: Mapping[str, str],
    layer: str,
    building: bool,
    faults: list[Fault],
) -> Value:
    """Return one variable's value, adding what is wrong with it to `faults`."""
    text = text_of(variable, environ)
    if isinstance(text, Fault):
        faults.append(text)
        return _EMPTY.get(variable.kind)
    if not text.strip(" ,"):
        text = variable.default_in(layer)
        if not text and layer in variable.required_in:
            if not building:
                faults.append(_missing(variable, layer))
            elif variable.secret and variable.validate is None:
                # Good for this process alone; nothing that is built may depend on it.
                text = secrets.token_urlsafe(64)
            else:
                text = variable.default_in("test")
    elif fault := _sample(variable, text, layer):
        faults.append(fault)
    try:
        return variable.parse(text) if text else _EMPTY.get(variable.kind)
    except InvalidValueError as error:
        faults.append(Fault(variable.name, error.problem, error.hint))
        return _EMPTY.get(variable.kind)


def _missing(variable: Variable, layer: str) -> Fault:
    hint = f"Set it in the environment or in .env: {variable.help}"
    if variable.secret:
        hint = f"Set {variable.name}, or {variable.name}_FILE to a file that holds it"
        if variable.generated:
            hint += f"; `{COMMAND} init --layer {layer}` writes a .env with a fresh one."
        else:
            hint += f": {variable.help}"
    return Fault(variable.name, f"it is not set, and {layer} requires it", hint)


def _sample(variable: Variable, text: str, layer: str) -> Fault | None:
    if layer not in SHARED:
        return None
    samples = {other.sample for other in VARIABLES.values() if other.sample}
    if variable.kind in (Kind.DATABASE_URL, Kind.URL):
        is_sample = any(f":{sample}@" in unquote(text) for sample in samples)
    else:
        is_sample = variable.secret and text in samples
    if not is_sample:
        return None
    problem = f"it is the local layer's public sample, which {layer} must not use"
    hint = f"Set a secret of its own; `./manage.py env init --layer {layer}` makes fresh ones."
    return Fault(variable.name, problem, hint)


def _across(
    values: Mapping[str, Value],
    layer: str,
    scopes: frozenset[str],
    building: bool,
    broken: set[str],
) -> list[Fault]:
    """Return the faults that one variable alone does not show."""
    result: list[Fault] = []
    if Scope.DJANGO in scopes:
        if layer == "production":
            result += _production(values, broken)
        if not building:
            result += _database(values, layer, broken)
            result += redis.faults(values, layer, broken)
            result += broker.faults(values, layer, broken)
            result += mail.faults(values, layer, broken)
        result += static.faults(values, layer, broken)
        result += slow_paths.faults(values, broken)
    if Scope.STACK in scopes:
        result += _ports(values, broken)
        result += _proxies(values, broken)
    return result


def _database(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    # An invalid value is empty here, and reported already.
    empty = {name for name in broken if not values[name]}
    if empty & set(database.WAYS):
        return []
    return [fault for fault in database.faults(values, layer) if fault.name not in empty]


def _production(values: Mapping[str, Value], broken: set[str]) -> list[Fault]:
    result = []
    if values["DJANGO_DEBUG"]:
        problem = "it is on, and debug pages show the code and settings to anyone"
        result.append(Fault("DJANGO_DEBUG", problem, "Remove it, or set it to false."))
    key = str(values["DJANGO_SECRET_KEY"])
    if "DJANGO_SECRET_KEY" not in broken and (
        len(key) < _KEY_LENGTH or len(set(key)) < _KEY_VARIETY or key.startswith(_KEY_INSECURE)
    ):
        problem = f"it is too weak: production needs {_KEY_LENGTH} random characters or more"
        hint = "`python -c 'import secrets; print(secrets.token_urlsafe(64))'` prints a good one."
        result.append(Fault("DJANGO_SECRET_KEY", problem, hint))
    # https://hstspreload.org/#submission-requirements
    seconds = values["DJANGO_HSTS_SECONDS"]
    too_short = isinstance(seconds, int) and seconds < _PRELOAD_SECONDS
    if values["DJANGO_HSTS_PRELOAD"] and (
        too_short or not values["DJANGO_HSTS_INCLUDE_SUBDOMAINS"]
    ):
        problem = "it is on, and browsers accept a preload only with a year and all subdomains"
        hint = (
            f"Set DJANGO_HSTS_SECONDS={_PRELOAD_SECONDS} and DJANGO_HSTS_INCLUDE_SUBDOMAINS=true, "
            "or remove it."
        )
        result.append(Fault("DJANGO_HSTS_PRELOAD", problem, hint))
    return result


def _proxies(values: Mapping[str, Value], broken: set[str]) -> list[Fault]:
    if values["PROXY_PROTOCOL"] != "1" or values["TRUSTED_PROXIES"] or "TRUSTED_PROXIES" in broken:
        return []
    problem = "it is 1, but TRUSTED_PROXIES is not set: no proxy may use the protocol"
    hint = "Set TRUSTED_PROXIES to the proxy's address, or remove it."
    return [Fault("PROXY_PROTOCOL", problem, hint)]


def _ports(values: Mapping[str, Value], broken: set[str]) -> list[Fault]:
    """Return a fault for each port that another one in use has too."""
    result = []
    owners: dict[Value, str] = {}
    for name, switch in PUBLISHED.items():
        if name in broken or (switch and values[switch] in ("", "0")):
            continue
        owner = owners.setdefault(values[name], name)
        if owner != name:
            problem = f"it is {values[name]}, and so is {owner}"
            result.append(Fault(name, problem, "Give each its own port."))
    return result
