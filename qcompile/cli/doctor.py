"""The command `doctor`: what is wrong with a quantized model, and what can be repaired."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcompile.cli import options

if TYPE_CHECKING:
    from qcompile.doctor.finding import Finding

HEALTHY, PROBLEMS = 0, 1


def add_commands(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="say what is wrong with a quantized ONNX model, and repair what is safe",
        description="Exit status: 0 where there is no error (warnings count for nothing), "
        "1 where there is one; with --fix, of what remains.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--target", metavar="NAME", help="also say what stays float there")
    parser.add_argument(
        "--shape",
        type=options.shape,
        action="append",
        default=[],
        metavar="input=1,3,224,224",
        help="fix the shape of an input, which a target wants; may be repeated",
    )
    parser.add_argument("--fix", action="store_true", help="repair what is safe, into -o")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.onnx")
    options.add_json(parser)
    parser.set_defaults(command=functools.partial(run_doctor, parser))


def run_doctor(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Examine, repair if asked, report; the status is that of what was found last."""
    from qcompile.errors import CompileError
    from qcompile.files import check_output

    if args.fix != (args.out is not None):
        parser.error("--fix and -o go together")
    if args.fix:
        check_output(args.out, [args.model])
    from qcompile.doctor.diagnose import diagnose, read
    from qcompile.report import json_text
    from qcompile.targets import find_target

    target = find_target(args.target) if args.target else None
    proto = read(args.model)
    try:
        examine = functools.partial(diagnose, target=target, shapes=dict(args.shape))
        findings = examine(proto)
        done, remaining = _repair(proto, args.out, examine) if args.fix else ([], findings)
    except CompileError as error:
        where = f"{args.model}: {error.where}" if error.where else str(args.model)
        raise CompileError(error.problem, where=where, hint=error.hint) from error
    status = PROBLEMS if any(each.severity == "error" for each in remaining) else HEALTHY
    if args.json:
        report: dict[str, Any] = {
            "model": str(args.model),
            "target": args.target,
            "findings": [vars(each) for each in findings],
        }
        if args.fix:
            repaired = {"out": str(args.out), "repairs": done}
            report |= {**repaired, "remaining": [vars(each) for each in remaining]}
        print(json_text(report))
    else:
        print(describe(args.model, findings))
        if args.fix:
            print("\n".join([f"{args.out}: {len(done)} repairs", *done]))
            print(describe(args.out, remaining))
    return status


def describe(path: Path, findings: Sequence[Finding]) -> str:
    """Return findings for people: the count, then one after the other."""
    counts = {
        name: sum(each.severity == name for each in findings)
        for name in ("error", "warning", "info")
    }
    fixable = sum(each.fixable for each in findings)
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    mend = f"; --fix repairs {fixable}" if fixable else ""
    return "\n".join([f"{path}: {said or 'nothing found'}{mend}", *map(str, findings)])


def _repair(
    proto: Any, out: Path, examine: Callable[[Any], list[Finding]]
) -> tuple[list[str], list[Finding]]:
    """Write the repaired model; return what was done and what remains."""
    import onnx_ir as ir

    from qcompile.artifact import graph_bytes
    from qcompile.doctor.repair import repair
    from qcompile.files import write_atomic

    model, done = repair(proto)
    remaining = examine(ir.to_proto(model))
    write_atomic(out, graph_bytes(model))
    return done, remaining
