"""The command `export`: an artifact in a form that needs no qcompile where it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qcompile.cli import options

FORMATS = ("c",)


def add_commands(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="write a C bundle that needs no runtime")
    parser.add_argument("artifact", type=Path, metavar="OUT.qcm")
    parser.add_argument(
        "--format", choices=FORMATS, required=True, help="c: object code and C files"
    )
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", required=True)
    options.add_json(parser)
    parser.set_defaults(command=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export; the artifact may be for another machine than this one."""
    from qcompile.bundle.folder import check_replaceable

    check_replaceable(args.out)
    from qcompile import artifact
    from qcompile.cli.tables import bytes_text
    from qcompile.model import CompiledModel
    from qcompile.report import json_text
    from qcompile.targets import find_target

    contents = artifact.load(args.artifact)
    target = find_target(contents.manifest["target"])
    bundle = CompiledModel.from_artifact(contents, target).export_c(args.out)
    if args.json:
        print(json_text({"bundle": str(args.out), **vars(bundle)}))
    else:
        print(
            f"{args.out}: C for {bundle.target}, {len(bundle.files)} files; "
            f"weights {bytes_text(bundle.weight_bytes)}, "
            f"arena {bytes_text(bundle.arena_bytes)}; see README.txt there"
        )
    return 0
