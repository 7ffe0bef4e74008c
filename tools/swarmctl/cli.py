"""`./swarmctl`: the stack on the machines of a Docker Swarm."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ops.environment.fault import InvalidValueError
from tools.swarmctl.engine import SwarmctlError
from tools.swarmctl.rollout import deploy


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        deploy(arguments.image)
    except SwarmctlError as error:
        print(f"swarmctl: {error}", file=sys.stderr)
        return error.code
    except InvalidValueError as error:
        print(f"swarmctl: {error.problem}. {error.hint}", file=sys.stderr)
        return SwarmctlError.code
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the commands and their options."""
    top = argparse.ArgumentParser(prog="swarmctl", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    release = commands.add_parser(
        "deploy",
        help="migrate, then replace the servers and the worker without a failed request",
        description="Exit code 0: deployed, 1: no server was changed, 3: rolled back.",
    )
    release.add_argument(
        "image",
        metavar="IMAGE",
        help="the production image, as every machine can pull it: NAME@sha256:DIGEST",
    )
    return top
