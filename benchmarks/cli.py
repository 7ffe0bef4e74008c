"""The command line of `make bench`."""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from benchmarks.answers import WrongAnswerError
from benchmarks.cost import memory_mib
from benchmarks.deploy import measure_deploy
from benchmarks.engine import EngineError, require_engine
from benchmarks.growth.measure import measure_growth
from benchmarks.machine import machine_facts, versions
from benchmarks.page import write_growth, write_page
from benchmarks.release import running_release
from benchmarks.report import json_report, text_report
from benchmarks.rounds import Options, measure
from benchmarks.stack import running_stack
from benchmarks.thumbnails import measure_thumbnails  # remove_demo


def main() -> int:
    """Measure and print the figures; return 1 if a request failed or nothing could be measured."""
    arguments = _parser().parse_args()
    options = Options(arguments.seconds, arguments.rounds, arguments.connections)
    # SIGTERM also removes the containers.
    signal.signal(signal.SIGTERM, _end)
    try:
        if arguments.growth:
            return _run_growth()
        return _run(options, arguments.json, arguments.tiers)
    except (EngineError, WrongAnswerError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: Options, json_file: Path | None, tiers: bool) -> int:
    facts = machine_facts(require_engine())
    _say("Building the images from this checkout and starting the containers.")
    with running_stack() as stack:
        package_versions = versions(stack)
        samples = measure(stack, options, _say)
        memory = memory_mib(stack)
    deploy = None
    thumbnails = None  # remove_demo
    if not tiers:
        with running_release() as release:
            thumbnails = measure_thumbnails(release, _say)  # remove_demo
            deploy = measure_deploy(release, _say)
    figures = json_report(facts, package_versions, options, samples, memory, deploy)
    text = text_report(facts, package_versions, options, samples, memory, deploy)
    # remove_demo: begin
    if thumbnails:
        errors = figures["errors"] + thumbnails.lost
        figures |= {"thumbnails": thumbnails.as_json(), "errors": errors}
        text += f"\n\n{thumbnails.as_text()}"
    # remove_demo: end
    print(text)
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if errors := figures["errors"]:
        _say(f"{errors} requests or uploads failed, so the figures are not valid.")
        return 1
    write_page(facts, options, samples)
    return 0


def _run_growth() -> int:
    facts = machine_facts(require_engine())
    curves = measure_growth(_say)
    print("\n\n".join(curve.table() for curve in curves))
    write_growth(facts, curves)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Requests per second and CPU per request of the stack and of its peers.",
    )
    parser.add_argument(
        "--seconds", type=_positive, default=6, help="seconds of each measurement (default: 6)"
    )
    parser.add_argument(
        "--rounds", type=_positive, default=3, help="rounds over all targets (default: 3)"
    )
    parser.add_argument(
        "--connections", type=_positive, default=16, help="parallel connections (default: 16)"
    )
    parser.add_argument(
        "--tiers", action="store_true", help="only the servers, without a deploy and the worker"
    )
    parser.add_argument(
        "--growth", action="store_true", help="only what grows with servers, connections and rows"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
