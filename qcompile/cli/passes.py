"""The commands `passes list`, `passes show` and `passes run`: the passes as a library."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcompile.cli import options

if TYPE_CHECKING:
    import onnx_ir as ir


def add_commands(commands: Any) -> None:
    """Add the group to the parser."""
    group = commands.add_parser("passes", help="list the graph passes, or run some on a model")
    kinds = group.add_subparsers(metavar="COMMAND", dest="name_of_passes", required=True)
    parser = kinds.add_parser("list", help="list the passes")
    options.add_json(parser)
    parser.set_defaults(command=run_list)

    parser = kinds.add_parser("show", help="show what a pass does, with its example")
    parser.add_argument("pass_name", metavar="PASS")
    parser.set_defaults(command=run_show)

    parser = kinds.add_parser("run", help="run passes on a model, in the order given")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument(
        "--pass",
        dest="passes",
        type=options.names,
        action="extend",
        required=True,
        metavar="PASS[,PASS...]",
        help="see `qcompile passes list`",
    )
    parser.add_argument("--target", default="native", help="for passes that need one")
    parser.add_argument(
        "--shape", type=options.shape, action="append", default=[], metavar="input=1,3,224,224"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.onnx")
    parser.set_defaults(command=run_passes)


def run_list(args: argparse.Namespace) -> int:
    """List the passes."""
    from qcompile import passes
    from qcompile.cli.tables import table
    from qcompile.pass_docs import pass_docs
    from qcompile.report import json_text

    docs = {name: pass_docs(passes.find(name)) for name in passes.names()}
    if args.json:
        listed = [
            {"name": name, "summary": each.summary, "needs": list(each.needs)}
            for name, each in docs.items()
        ]
        print(json_text({"passes": listed}))
    else:
        print(table([(name, each.summary) for name, each in docs.items()]))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Show one pass."""
    import inspect

    from qcompile import passes

    found = passes.find(args.pass_name)
    print(f"{found.__name__}\n\n{inspect.cleandoc(found.__doc__ or '')}")
    return 0


def run_passes(args: argparse.Namespace) -> int:
    """Import the model, run the passes, write the result."""
    from qcompile.artifact import graph_bytes
    from qcompile.files import check_output, write_atomic
    from qcompile.importer.load_model import load_model

    steps = make_passes(args.passes, args.target)
    check_output(args.out, [args.model])
    model = load_model(args.model, dict(args.shape))
    for step in steps:
        before = len(model.graph)
        result = step(model)
        model = result.model
        change = f"{before} -> {len(model.graph)} nodes" if result.modified else "no change"
        print(f"{type(step).__name__}: {change}", file=sys.stderr)
    write_atomic(args.out, graph_bytes(model))
    print(args.out)
    return 0


def make_passes(wanted: Sequence[str], target: str) -> list[ir.passes.PassBase]:
    """Return the passes of these names, each with the target where it needs one.

    Raises:
        CompileError: An unknown pass, or one that needs more than a target.
    """
    from qcompile import passes
    from qcompile.errors import CompileError
    from qcompile.pass_docs import needs
    from qcompile.targets import find_target

    made = []
    for name in wanted:
        found = passes.find(name)
        given = {"target": find_target(target)} if "target" in needs(found) else {}
        missing = sorted(set(needs(found)) - set(given))
        if missing:
            raise CompileError(
                f"{found.__name__} needs {', '.join(missing)}",
                where=f"--pass {name}",
                hint="`qcompile quantize` runs it in its place, and Python can",
            )
        made.append(found(**given))
    return made
