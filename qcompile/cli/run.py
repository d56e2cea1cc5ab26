"""The commands that use an artifact: `validate`, `bench` and `run`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcompile.cli import options

if TYPE_CHECKING:
    from qcompile.benchmark.bench import BenchReport
    from qcompile.model import CompiledModel
    from qcompile.validation.validate import Validation


def add_commands(commands: Any) -> None:
    """Add the three commands to the parser."""
    parser = commands.add_parser("validate", help="compare with oracle, float model, labels")
    parser.add_argument("artifact", type=Path, metavar="OUT.qcm")
    parser.add_argument("--data", type=Path, required=True, metavar="DATA")
    parser.add_argument("--labels", metavar="KEY", help="array of DATA that holds the classes")
    parser.add_argument("--reference", type=Path, metavar="MODEL.onnx", help="the float model")
    parser.add_argument(
        "--oracle-samples",
        type=options.count,
        metavar="N",
        help="how many samples the oracle runs (default 32)",
    )
    parser.add_argument(
        "--layers", action="store_true", help="judge every node, not only the outputs"
    )
    options.add_preprocess(parser)
    options.add_device(parser)
    options.add_json(parser)
    parser.set_defaults(command=run_validate)

    parser = commands.add_parser("bench", help="measure latency, in turn with peers")
    parser.add_argument("artifact", type=Path, metavar="OUT.qcm")
    parser.add_argument("--threads", type=options.positive, default=1, metavar="N")
    parser.add_argument("--runs", type=options.positive, metavar="N", help="default 100")
    parser.add_argument(
        "--against",
        type=options.names,
        default=(),
        metavar="PEER[,PEER]",
        help="onnxruntime, openvino: on the artifact's QDQ graph",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="MODEL.onnx", help="measure peers in float32 too"
    )
    options.add_explain(parser)
    options.add_device(parser)
    options.add_json(parser)
    parser.set_defaults(command=run_bench)

    parser = commands.add_parser("run", help="run once on an .npz")
    parser.add_argument("artifact", type=Path, metavar="OUT.qcm")
    parser.add_argument("--input", type=Path, required=True, metavar="IN.npz")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.npz")
    options.add_device(parser)
    parser.set_defaults(command=run_run)


@contextlib.contextmanager
def loaded(args: argparse.Namespace) -> Iterator[CompiledModel]:
    """Give the artifact, loaded here or on the device that --device names."""
    from qcompile.artifact.loader import load

    if args.device is None:
        yield load(args.artifact)
        return
    from qcompile.targets import open_device

    with open_device(args.device, timeout=args.timeout) as device:
        yield load(args.artifact, device=device)


def run_validate(args: argparse.Namespace) -> int:
    """Validate; exit 1 where the compiled model is not what the oracle says."""
    from qcompile.report import json_text

    with loaded(args) as model:
        report = model.validate(
            args.data,
            reference=args.reference,
            labels=args.labels,
            preprocess=options.preprocess(args),
            oracle_samples=args.oracle_samples,
            layers=args.layers,
        )
    print(json_text(report) if args.json else describe_validation(report))
    difference = report["oracle"]["first_difference"]
    if difference is None:
        return 0
    what = (
        f"its shape is {difference['shapes'][1]}, the oracle's {difference['shapes'][0]}"
        if "shapes" in difference
        else f"{difference['count']} values are not the oracle's, first at "
        f"{difference['index']}: {difference['got']} for {difference['expected']}"
    )
    print(
        f"qcompile: error: node {difference['node']!r} ({difference['op_type']}): {what}\n"
        "  hint: this is a bug of qcompile; please report it with the model",
        file=sys.stderr,
    )
    return 1


def run_bench(args: argparse.Namespace) -> int:
    """Measure."""
    from qcompile.report import json_text

    with loaded(args) as model:
        report = model.bench(
            threads=args.threads,
            against=args.against,
            runs=args.runs,
            reference=args.reference,
        )
        explanation = model.explain(threads=args.threads) if args.explain else None
    if explanation is not None:
        report["explain"] = explanation.to_json()
    print(json_text(report) if args.json else describe_bench(report))
    if explanation is not None and not args.json:
        from qcompile.cli.explain import describe_explanation

        print(f"\n{describe_explanation(explanation)}")
    return 0


def run_run(args: argparse.Namespace) -> int:
    """Run once and write the outputs."""
    from qcompile.data.npz import npz_bytes, read_npz
    from qcompile.files import check_output, write_atomic

    check_output(args.out, [args.artifact, args.input])
    with loaded(args) as model:
        outputs = model.run(read_npz(args.input))
    write_atomic(args.out, npz_bytes(outputs))
    shapes = (f"{name} {each.dtype}{list(each.shape)}" for name, each in outputs.items())
    print(f"{args.out}: {', '.join(shapes)}")
    return 0


def describe_validation(report: Validation) -> str:
    """Return the report for people."""
    from qcompile.cli.tables import table
    from qcompile.validation.deviation import MOST_DB

    check = report["oracle"]
    verdict = "bit-exact" if check["bit_exact"] else "DIFFERS"
    lines = [
        ("samples", str(report["samples"])),
        ("oracle", f"{verdict} on {check['samples']} samples"),
        ("golden run", "reproduced" if report["golden"] else "DIFFERS"),
    ]
    if "device" in report:
        lines.insert(0, ("device", device_label(report)))
    if report["reference"] is None:
        lines.append(("float model", "not compared: give it with --reference"))
    else:
        not_finite = sum(each["not_finite"] for each in report["outputs"].values())
        same = all(each["sqnr_db"] == MOST_DB for each in report["outputs"].values())
        lines.append(
            ("SQNR", "no noise: identical" if same else f"{report['sqnr_db']:.2f} dB")
        )
        if not_finite:
            lines.append(("not finite", f"{not_finite} values, in one of the two models only"))
        lines.append(("cosine", f"{report['cosine']:.6f}"))
        lines.append(("largest error", f"{report['max_abs_error']:.4g}"))
    accuracy = report.get("accuracy")
    if accuracy is not None:
        if accuracy["float"] is not None:
            lines.append(("accuracy float", f"{100 * accuracy['float']:.2f} %"))
        lines.append(("accuracy int8", f"{100 * accuracy['compiled']:.2f} %"))
        if accuracy["drop"] is not None and accuracy["ci95"] is not None:
            low, high = (100 * bound for bound in accuracy["ci95"])
            lines.append(
                (
                    "drop",
                    f"{100 * accuracy['drop']:.2f} points, 95 % interval "
                    f"[{low:.2f}, {high:.2f}]",
                )
            )
        if accuracy["agreement"] is not None:
            lines.append(("agreement", f"{100 * accuracy['agreement']:.2f} %"))
    if "layers" not in check:
        return table(lines)
    rows = [["node", "operator", "values", "differ"]]
    for layer in check["layers"]:
        counts = (str(layer["values"]), str(layer["differences"] or "-"))
        rows.append([layer["node"], layer["op_type"], *counts])
    return f"{table(lines)}\n\n{table(rows, right=(2, 3))}"


def device_label(report: Validation | BenchReport) -> str:
    """Return where it ran, with the label of an emulated device."""
    emulated = ", emulated: its times say nothing about hardware" if report["emulated"] else ""
    return f"{report['device']}{emulated}"


def describe_bench(report: BenchReport) -> str:
    """Return the report for people."""
    from qcompile.cli.tables import table

    def figures(latency: Any) -> list[str]:
        return [f"{latency[key]:.3f}" for key in ("median", "min", "p95")]

    threads = f"{report['threads']} thread{'s' if report['threads'] > 1 else ''}"
    lines = [[f"ms, {threads}, {report['runs']} runs in turn", "median", "min", "p95", ""]]
    lines.append([f"qcompile {report['target']}", *figures(report["latency_ms"]), ""])
    ours = report["latency_ms"]["median"]
    for name, peer in report["against"].items():
        for model, latency in peer["models"].items():
            label = f"{name} {peer['version']} {model.partition(':')[0]}"
            lines.append([label, *figures(latency), f"{latency['median'] / ours:.2f} x"])
    text = table(lines, right=(1, 2, 3, 4))
    return f"{device_label(report)}\n{text}" if "device" in report else text
