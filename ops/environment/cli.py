"""`./manage.py env`: checks the environment, writes a new `.env`, renews what is generated."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import dotenv, render
from .check import ALL_SCOPES, faults, warnings
from .contract import PROJECT_FAULTS, VARIABLES
from .fault import Fault, InvalidValueError, report
from .files import text_of
from .loader import SETTINGS_MODULE, find_dotenv, layer_of
from .names import foreign, known
from .variable import LAYERS, ROOT, Scope

SAMPLE_PATH = ROOT / ".env.sample"
DOCS_PATH = ROOT / "docs" / "environment.md"
COMPOSE_PATH = ROOT / "docker-compose.environment.yaml"
# The machine's IPv6 addresses (if6_seq_show in Linux' net/ipv6/addrconf.c).
ADDRESSES = Path("/proc/net/if_inet6")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 all is well, 1 not, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=render.COMMAND, description="Check and write the project's environment."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="report all faults of the environment")
    check.add_argument("--layer", choices=LAYERS, help="default: the one that is set")
    check.add_argument(
        "--scope",
        choices=(*Scope, "all"),
        default="all",
        help="the scope of the variables to check",
    )
    check.add_argument(
        "--installed", action="store_true", help="also check the packages that it needs"
    )
    check.set_defaults(run=_check)

    init = commands.add_parser("init", help="write a .env with fresh secrets; never overwrites")
    init.add_argument("--layer", choices=("local", "dev", "production"), default="local")
    init.add_argument("--path", type=Path, default=ROOT / ".env", help="default: .env")
    init.set_defaults(run=_init)

    get = commands.add_parser("get", help="print one variable's value, or its default")
    get.add_argument("name", metavar="NAME")
    get.set_defaults(run=_get)

    for name, run, what in (
        ("write", _write, "all three that follow"),
        ("sample", _sample, ".env.sample"),
        ("docs", _docs, "docs/"),
        ("compose", _compose, "docker-compose.environment.yaml"),
    ):
        command = commands.add_parser(name, help=f"generate {what} from the contract")
        command.add_argument(
            "--check", action="store_true", help="only check that it matches the contract"
        )
        command.set_defaults(run=run)
    return parser


def _fail(message: str) -> int:
    print(f"{render.COMMAND}: {message}", file=sys.stderr)
    return 1


def _environment(layer: str | None = None) -> tuple[dict[str, str], dotenv.DotEnv]:
    """Return the process's environment over `.env`, which a test layer has not."""
    dotenv_file = find_dotenv(
        os.environ, layer or layer_of(os.environ.get(SETTINGS_MODULE) or "local"), ROOT
    )
    return {**dotenv_file.values, **os.environ}, dotenv_file


def _layer(environ: Mapping[str, str], scope: str) -> str:
    """Return the layer: that of the settings module, else the stack's LAYER."""
    module = environ.get(SETTINGS_MODULE)
    if module and (scope == Scope.DJANGO or not environ.get("LAYER")):
        return layer_of(module)
    layer = environ.get("LAYER") or "local"
    # A misspelt one is a fault of its own; until it is right, the strictest layer is checked.
    return layer if layer in LAYERS else "production"


def _check(arguments: argparse.Namespace) -> int:
    environ, dotenv_file = _environment(arguments.layer)
    layer = arguments.layer or _layer(environ, arguments.scope)
    scopes = ALL_SCOPES if arguments.scope == "all" else frozenset({Scope(arguments.scope)})
    for warning in _warnings(dotenv_file):
        print(f"warning: {warning}", file=sys.stderr)
    errors = faults(environ, layer, scopes, dotenv_file, installed=arguments.installed)
    if errors:
        print(report(errors, layer), file=sys.stderr)
        return 1
    if arguments.scope == "all":
        for warning in warnings(environ, layer):
            print(f"warning: {warning}", file=sys.stderr)
    print(f"The environment is valid for the {layer} layer ({', '.join(sorted(scopes))}).")
    return 0


def _warnings(dotenv_file: dotenv.DotEnv) -> list[Fault]:
    """Return what is odd about `.env`, but harms nothing."""
    warnings = list(dotenv_file.warnings)
    declared = known()
    for name in dotenv_file.values:
        if name not in declared and not foreign(name):
            hint = "Remove it, or declare it in your environment.py (docs/your-app.md)."
            warnings.append(Fault(f".env: {name}", "nothing in this project reads it", hint))
    path = ROOT / ".env"
    if dotenv_file.values and stat.S_IMODE(path.stat().st_mode) & 0o077:
        warnings.append(Fault(".env", "other users of this machine can read it", "chmod 600 .env"))
    return warnings


def _init(arguments: argparse.Namespace) -> int:
    path: Path = arguments.path
    ipv6 = arguments.layer != "local" and _has_ipv6()
    text, unknown = render.fresh(arguments.layer, ipv6=ipv6)
    try:
        # O_EXCL: an existing file, or a link of that name, is left as it is.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _fail(f"{path} exists and was not changed. For a new one: mv .env .env.old")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    print(
        f"Wrote {path} for the {arguments.layer} layer, with fresh secrets, readable only by you."
    )
    if ipv6:
        print("Visitors come by IPv6 too (HTTP_IPV6_ADDRESS).")
    if unknown:
        print(f"Fill in these values: {', '.join(unknown)}.")
    print(f"Then: {render.COMMAND} check")
    return 0


def _has_ipv6() -> bool:
    """Return whether this machine has an IPv6 address that other networks can reach."""
    lines = ADDRESSES.read_text().splitlines() if ADDRESSES.exists() else []
    # The fourth column is the scope, 00 for global.
    return any(line.split()[3] == "00" for line in lines)


def _get(arguments: argparse.Namespace) -> int:
    name = arguments.name
    variable = VARIABLES.get(name)
    if variable is None:
        return _fail(f"{name} is not a variable of this project; docs/environment.md lists them.")
    environ, dotenv_file = _environment()
    if dotenv_file.faults:
        return _fail("\n".join(map(str, dotenv_file.faults)))
    text = text_of(variable, environ)
    if isinstance(text, Fault):
        return _fail(str(text))
    # What the application reads here depends on its settings, not on the layer of the stack.
    stack = variable.scope is Scope.STACK
    layer = _layer(environ, "all") if stack else layer_of(environ.get(SETTINGS_MODULE) or "local")
    try:
        print(render.shown(variable, text or variable.default_in(layer)))
    except InvalidValueError as error:
        return _fail(str(Fault(name, error.problem, error.hint)))
    return 0


def _write(arguments: argparse.Namespace) -> int:
    if PROJECT_FAULTS:
        return _fail("\n".join(map(str, PROJECT_FAULTS)))
    return max(run(arguments) for run in (_sample, _docs, _compose))


def _sample(arguments: argparse.Namespace) -> int:
    return _renew("sample", SAMPLE_PATH, render.sample(), arguments.check)


def _docs(arguments: argparse.Namespace) -> int:
    return _renew_within("docs", DOCS_PATH, render.docs, arguments.check)


def _compose(arguments: argparse.Namespace) -> int:
    return _renew("compose", COMPOSE_PATH, render.compose(), arguments.check)


def _renew_within(command: str, path: Path, renewed: Callable[[str], str], check: bool) -> int:
    try:
        text = renewed(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return _fail(f"{path.relative_to(ROOT)}: {error}")
    return _renew(command, path, text, check)


def _renew(command: str, path: Path, text: str, check: bool) -> int:
    name = path.relative_to(ROOT)
    current = path.read_text(encoding="utf-8") if path.exists() else None
    if current == text:
        print(f"{name} matches the contract.")
        return 0
    if check:
        return _fail(f"{name} does not match the contract: run `{render.COMMAND} {command}`.")
    path.write_text(text, encoding="utf-8")
    print(f"Wrote {name}.")
    return 0
