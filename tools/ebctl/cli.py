"""`./ebctl`: what Elastic Beanstalk needs before `eb deploy`, all of it without AWS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.ebctl import bundle, certificate, prebuilt
from tools.ebctl.faults import EbctlError

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = Path("var/eb/bundle.zip")
WORKER_BUNDLE = Path("var/eb/worker.zip")
# Exit codes: 0 nothing wrong, 1 findings, 2 the command itself could not be done.
FINDINGS = 1
FAILED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except EbctlError as error:
        print(f"ebctl: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"ebctl: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    return code


def parser() -> argparse.ArgumentParser:
    """Return the commands and their options."""
    top = argparse.ArgumentParser(prog="ebctl", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    lint = commands.add_parser(
        "lint",
        help="check .ebextensions, .platform and the bundle; one line per finding",
        description="Exit code 0: no findings, 1: findings, 2: it could not be checked.",
    )
    lint.add_argument(
        "path",
        nargs="?",
        type=Path,
        default=ROOT,
        help="a bundle (.zip) or a git working tree (default: this project)",
    )
    lint.set_defaults(run=run_lint)

    make = commands.add_parser(
        "bundle",
        help="write a bundle that `eb deploy` does not make itself",
        description="Of a prebuilt image, so that instances build nothing; of the worker; or both.",
    )
    make.add_argument("--image", metavar="NAME@sha256:DIGEST", help="the prebuilt image")
    make.add_argument(
        "--worker",
        action="store_true",
        help="for `eb create --single`: without the files of load balancer and scaling",
    )
    make.add_argument(
        "--output", type=Path, help=f"(default: {BUNDLE}; of the worker {WORKER_BUNDLE})"
    )
    make.set_defaults(run=run_bundle)

    https = commands.add_parser(
        "https", help=f"write {certificate.TARGET}: HTTPS with a certificate, http redirected"
    )
    https.add_argument("arn", metavar="CERTIFICATE_ARN")
    https.set_defaults(run=run_https)
    return top


def run_lint(arguments: argparse.Namespace) -> int:
    """Print every finding.

    Raises:
        EbctlError: there is no bundle to read.
    """
    # Loaded here: it brings cfn-lint, which the other commands do without.
    from tools.ebctl.lint import findings_in

    findings = findings_in(arguments.path)
    for finding in findings:
        print(finding)
    return FINDINGS if findings else 0


def run_bundle(arguments: argparse.Namespace) -> int:
    """Write the bundle and print the next step.

    Raises:
        EbctlError: the command names neither an image nor the worker.
    """
    if arguments.image is None and not arguments.worker:
        raise EbctlError(
            "name a prebuilt image (--image), or write the worker's bundle (--worker)."
        )
    # Loaded here: it brings PyYAML.
    from tools.ebctl import worker

    source = bundle.from_tree(ROOT)
    outside = worker.left_out(source) if arguments.worker else []
    target = arguments.output or (WORKER_BUNDLE if arguments.worker else BUNDLE)
    if arguments.image is not None:
        prebuilt.write(worker.without(source, outside), arguments.image, target)
        content = f".ebextensions, .platform and {arguments.image}"
    else:
        worker.write(ROOT, outside, target)
        content = "the last commit"
    print(f"Wrote {target}: {content}")
    if outside:
        print(f"Not for a single instance, and left out: {', '.join(outside)}")
    print(f"Next: eb deploy ENVIRONMENT --region REGION --archive {target} --label LABEL")
    return 0


def run_https(arguments: argparse.Namespace) -> int:
    """Write the listener's file and say what comes next.

    Raises:
        EbctlError: as `certificate.write`.
    """
    target = certificate.write(ROOT, arguments.arn)
    print(f"Wrote {target.relative_to(ROOT)}")
    print("Next: commit it, then eb deploy ENVIRONMENT")
    return 0
