"""The command `tune`: measure tile sizes, and keep the best in a log."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from qcompile.cli import options
from qcompile.cli.compile import add_source, shared_arguments


def add_commands(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("tune", help="measure tile sizes, keep the best in a log")
    add_source(parser)
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="JSON lines")
    parser.add_argument(
        "--calib", type=Path, metavar="DATA", help="a float model without it gets random data"
    )
    parser.add_argument(
        "--seconds", type=options.seconds, metavar="N", help="stop measuring after these"
    )
    options.add_device(parser)
    options.add_json(parser)
    parser.set_defaults(command=run_tune)


def run_tune(args: argparse.Namespace) -> int:
    """Tune, and say what came of it."""
    import dataclasses

    from qcompile.cli.compile import printed_warnings
    from qcompile.compiler import tune_model
    from qcompile.files import check_output
    from qcompile.report import json_text
    from qcompile.targets import open_device

    check_output(args.log, [args.model, args.calib, args.config])
    opened: Any = contextlib.nullcontext()
    if args.device is not None:
        opened = open_device(args.device, timeout=args.timeout)
    with opened as device, printed_warnings():
        report = tune_model(
            args.model,
            args.target,
            args.log,
            seconds=args.seconds,
            device=device,
            **shared_arguments(args),
        )
    if args.json:
        print(json_text({"log": str(args.log), **dataclasses.asdict(report)}))
        return 0
    print(
        f"{args.log}: {report.measured} of {report.kernels} kernels measured in "
        f"{report.seconds:.1f} s, another tile is faster for {report.better}; "
        f"{report.known} known before"
    )
    if report.left:
        print(
            f"{report.left} kernels are left: run it again to go on",
            file=sys.stderr,
        )
    return 0
