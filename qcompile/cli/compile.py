"""The commands that make something: `compile` and `quantize`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcompile.cli import options

if TYPE_CHECKING:
    from qcompile.config import CompileConfig
    from qcompile.report import CompileReport


def add_commands(commands: Any) -> None:
    """Add both commands to the parser."""
    parser = commands.add_parser("compile", help="compile a model to a .qcm artifact")
    add_source(parser)
    parser.add_argument("--calib", type=Path, metavar="DATA", help="calibration samples")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.qcm", help="default: MODEL.qcm")
    parser.add_argument(
        "--tune", type=options.seconds, metavar="N", help="measure tile sizes for N seconds"
    )
    parser.add_argument(
        "--tune-log",
        type=Path,
        metavar="FILE",
        help="what `qcompile tune` measured; --tune adds to it",
    )
    options.add_explain(parser)
    options.add_json(parser)
    parser.set_defaults(command=run_compile)

    parser = commands.add_parser("quantize", help="write a QDQ ONNX file, for any runtime")
    add_source(parser)
    parser.add_argument("--calib", type=Path, metavar="DATA", help="calibration samples")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.onnx", required=True)
    parser.set_defaults(command=run_quantize)


def run_compile(args: argparse.Namespace) -> int:
    """Compile, save, report."""
    from qcompile.files import check_output
    from qcompile.report import json_text

    out = args.out or options.beside(args.model, ".qcm")
    check_output(out, _sources(args, out))
    if args.explain:
        check_timed_here(args.target)
    from qcompile.compiler import compile_model
    from qcompile.validation.reference import model_files

    with printed_warnings():
        model = compile_model(
            args.model,
            args.target,
            tune=args.tune,
            tune_log=args.tune_log,
            **shared_arguments(args),
        )
    model.save(out)
    explanation = model.explain(threads=1) if args.explain else None
    if args.json:
        explained = {"explain": explanation.to_json()} if explanation is not None else {}
        print(json_text({"artifact": str(out), **model.report, **explained}))
        return 0
    size = sum(path.stat().st_size for path in model_files(args.model))
    print(describe(out, model.report, size))
    if explanation is not None:
        from qcompile.cli.explain import describe_explanation

        print(f"\n{describe_explanation(explanation)}")
    return 0


def run_quantize(args: argparse.Namespace) -> int:
    """Quantize and write the QDQ graph."""
    from qcompile.files import check_output, write_atomic

    check_output(args.out, _sources(args, args.out))
    from qcompile.artifact import graph_bytes
    from qcompile.compiler import quantize_model

    with printed_warnings():
        model = quantize_model(args.model, args.target, **shared_arguments(args))
    data = graph_bytes(model)
    write_atomic(args.out, data)
    print(f"{args.out}: {len(data) / 1e3:.1f} kB")
    return 0


def check_timed_here(name: str) -> None:
    """Refuse to explain what this machine cannot run, before it is compiled.

    Raises:
        CompileError: The target's kernels do not run here.
    """
    from qcompile.errors import CompileError
    from qcompile.host import host_arch, host_features
    from qcompile.targets import find_target, fitting

    target = find_target(name)
    if target not in fitting(host_arch(), host_features()):
        raise CompileError(
            f"kernels for {target.name} cannot be timed on this machine",
            where="--explain",
            hint="on a device: qcompile bench OUT.qcm --explain --device URL",
        )


@contextlib.contextmanager
def printed_warnings() -> Iterator[None]:
    """Print what the calibration warns of, one line each on stderr."""
    import warnings

    from qcompile.errors import CalibrationWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CalibrationWarning)
        try:
            yield
        finally:
            for each in caught:
                if issubclass(each.category, CalibrationWarning):
                    print(f"qcompile: warning: {each.message}", file=sys.stderr)


def describe(out: Path, report: CompileReport, model_bytes: int) -> str:
    """Return the report for people."""
    from qcompile.cli.tables import bytes_text, count_text, percent, table

    ops, macs, seconds = report["ops"], report["macs"], report["seconds"]
    share = macs["integer"] / macs["total"] if macs["total"] else 1.0
    size = report["size_bytes"]
    steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    recipe = report["recipe"]
    lines = [
        (str(out), f"for {report['target']}"),
        ("recipe", f"{recipe['name']}, because {recipe['reason']}"),
        ("operators", f"{ops['total']}: {ops['integer']} integer, {ops['float']} float"),
        ("MACs", f"{count_text(macs['total'])}: {percent(share)} integer"),
        (
            "size",
            f"{bytes_text(size)}, the model file {bytes_text(model_bytes)} "
            f"({size / max(model_bytes, 1):.2f} of it)",
        ),
        ("seconds", steps),
    ]
    for island in report["float_islands"]:
        lines.append(("float", f"{', '.join(island['operators'])}: {island['reason']}"))
        lines.append(("", f"nodes {', '.join(island['nodes'])}"))
    return table(lines)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the model, the target, and what decides how it is quantized."""
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="see `qcompile targets`"
    )
    parser.add_argument("--labels", metavar="KEY", help="ignored: DATA may hold labels")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="auto (default), static-int8, dynamic-int8, float",
    )
    parser.add_argument(
        "--shape",
        type=options.shape,
        action="append",
        default=[],
        metavar="input=1,3,224,224",
        help="fix the shape of an input; may be repeated",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="choices by node")
    parser.add_argument("--calibrator", metavar="NAME", help="e.g. mse, kl, min-max")
    parser.add_argument("--float-ops", type=options.names, metavar="A,B", help="keep in float")
    parser.add_argument("--print-after", metavar="PASS", help="print the graph to stderr")
    parser.add_argument("--verify-each", action="store_true", help="check after every pass")
    options.add_preprocess(parser)


def _sources(args: argparse.Namespace, out: Path) -> list[Path | None]:
    """Return the files that the command reads, where one of them could be the output."""
    from qcompile.errors import CompileError

    sources = [args.model, args.calib, args.config]
    if not out.exists():
        return sources
    from qcompile.data.sources import SAMPLES
    from qcompile.validation.reference import model_files

    if args.calib is not None and args.calib.is_dir():
        sources += [path for path in args.calib.iterdir() if path.suffix.lower() in SAMPLES]
    with contextlib.suppress(CompileError):  # the importer says what is wrong with a model
        sources += model_files(args.model)
    return sources


def shared_arguments(args: argparse.Namespace) -> Mapping[str, Any]:
    """Return the arguments that compiling, quantizing and tuning share."""
    from qcompile.cli.after_pass import after_pass

    return {
        "calibration": args.calib,
        "config": _config(args),
        "shapes": dict(args.shape),
        "preprocess": options.preprocess(args),
        "progress": sys.stderr.isatty(),
        "after": after_pass(_pass_name(args.print_after), verify=args.verify_each),
    }


def _pass_name(name: str | None) -> str | None:
    """Return the name as it is if a file of qcompile/passes, verb_noun.py, has that name."""
    import pkgutil

    from qcompile import passes
    from qcompile.data.run_inputs import nearest
    from qcompile.errors import ConfigError

    known = [
        each.name.title().replace("_", "") for each in pkgutil.iter_modules(passes.__path__)
    ]
    if name is not None and name.lower() not in map(str.lower, known):
        raise ConfigError(
            f"unknown pass {name!r}", where="--print-after", hint=nearest(name, known)
        )
    return name


def _config(args: argparse.Namespace) -> CompileConfig:
    """Return the config file's choices, the options' over them."""
    import dataclasses

    from qcompile.config import CompileConfig

    config = CompileConfig.from_toml(args.config) if args.config else CompileConfig()
    fields = {name: getattr(args, name) for name in ("recipe", "calibrator", "float_ops")}
    given = {name: value for name, value in fields.items() if value is not None}
    return dataclasses.replace(config, **given)
