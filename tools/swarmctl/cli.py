"""`./swarmctl`: the stack on the machines of a Docker Swarm."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from ops.environment.fault import InvalidValueError
from tools.swarmctl.engine import SwarmctlError
from tools.swarmctl.rollout import deploy

INTERRUPTED: Final = 130


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
    except OSError as error:
        print(f"swarmctl: {error.filename}: {error.strerror}", file=sys.stderr)
        return SwarmctlError.code
    except KeyboardInterrupt:
        print(
            "swarmctl: interrupted. Swarm goes on with what it has begun; deploy again to see how "
            "it ends, or to complete it",
            file=sys.stderr,
        )
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the commands and their options."""
    top = argparse.ArgumentParser(prog="swarmctl", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    release = commands.add_parser(
        "deploy",
        help="migrate, then replace the servers and the worker without a failed request",
        description="Exit code 0: deployed, 1: not deployed, 3: rolled back, 130: interrupted.",
    )
    release.add_argument(
        "image",
        metavar="IMAGE",
        help="the production image, as every machine can pull it: NAME@sha256:DIGEST",
    )
    return top
