"""The commands that show something: `inspect` and `targets`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcompile.cli import options

if TYPE_CHECKING:
    import onnx_ir as ir

    from qcompile.quant import QuantSpec
    from qcompile.target import Target

ARTIFACT_MAGIC = b"PK"


def add_commands(commands: Any) -> None:
    """Add both commands to the parser."""
    parser = commands.add_parser("inspect", help="show what is in an artifact or a model")
    parser.add_argument("file", type=Path, metavar="FILE", help="a .qcm or an .onnx")
    options.add_json(parser)
    parser.set_defaults(command=run_inspect)

    parser = commands.add_parser("targets", help="list the targets, or show one")
    parser.add_argument("name", nargs="?", metavar="NAME")
    options.add_json(parser)
    parser.set_defaults(command=run_targets)


def run_inspect(args: argparse.Namespace) -> int:
    """Show a file; an artifact's hashes are checked, its code is not loaded."""
    from qcompile.report import json_text

    facts = artifact_facts(args.file) if is_artifact(args.file) else model_facts(args.file)
    print(json_text(facts) if args.json else describe(facts))
    return 0


def run_targets(args: argparse.Namespace) -> int:
    """List all targets, or the rows of one."""
    from qcompile.cli.tables import table
    from qcompile.report import json_text
    from qcompile.targets import TARGETS, find_target

    if args.name is not None:
        facts = target_facts(find_target(args.name))
        print(json_text(facts) if args.json else describe_target(facts))
        return 0
    listed = [target_summary(target) for target in TARGETS.values()]
    if args.json:
        print(json_text({"targets": listed}))
    else:
        rows = [
            (each["name"], "runs here" if each["here"] else "", each["about"])
            for each in listed
        ]
        print(table(rows))
    return 0


def is_artifact(path: Path) -> bool:
    """Whether a file is (or is meant to be) an artifact, by its name or its first bytes."""
    if path.suffix == ".qcm" or not path.is_file():
        return path.suffix == ".qcm"
    with path.open("rb") as file:
        return file.read(2) == ARTIFACT_MAGIC


def artifact_facts(path: Path) -> dict[str, Any]:
    """Return what is in an artifact."""
    from qcompile import artifact
    from qcompile.report import compile_report

    contents = artifact.load(path)
    graph = contents.integer_graph.graph
    target, recipe = contents.manifest["target"], contents.manifest["recipe"]
    report = compile_report(target, recipe, graph, path.stat().st_size, {})
    return {
        "artifact": str(path),
        "inputs": [value_facts(value) for value in graph.inputs],
        "outputs": [value_facts(value) for value in graph.outputs],
        **{key: value for key, value in report.items() if key != "seconds"},
        "library_bytes": len(contents.library),
        "manifest": contents.manifest,
    }


def model_facts(path: Path) -> dict[str, Any]:
    """Return what is in an ONNX file."""
    import onnx_ir as ir

    from qcompile.errors import CompileError
    from qcompile.importer.model_file import read_model

    try:
        model = ir.from_proto(read_model(path))
    except CompileError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise CompileError(error.problem, where=where, hint=error.hint) from error
    graph = model.graph
    operators = Counter(node.op_type for node in graph)
    constants = [value.const_value for value in graph.initializers.values()]
    return {
        "model": str(path),
        "inputs": [value_facts(value) for value in graph.inputs],
        "outputs": [value_facts(value) for value in graph.outputs],
        "opset": model.opset_imports.get("", 0),
        "nodes": len(graph),
        "operators": dict(operators.most_common()),
        "parameters": sum(tensor.size for tensor in constants if tensor is not None),
        "size_bytes": path.stat().st_size,
    }


def value_facts(value: ir.Value) -> dict[str, Any]:
    """Return name, type and shape of a graph input or output."""
    sizes = [] if value.shape is None else list(value.shape)
    return {
        "name": value.name,
        "dtype": value.dtype.name if value.dtype is not None else None,
        "shape": [size if isinstance(size, int) else str(size) for size in sizes],
    }


def describe(facts: Mapping[str, Any]) -> str:
    """Return the facts of a file for people: one line each, the long ones counted."""
    from qcompile.cli.tables import bytes_text, count_text, table

    lines = [("file", str(facts.get("artifact", facts.get("model"))))]
    for kind in ("inputs", "outputs"):
        for each in facts[kind]:
            shape = ", ".join(str(size) for size in each["shape"])
            lines.append((kind[:-1], f"{each['name']} {each['dtype']}[{shape}]"))
    lines.append(("size", bytes_text(facts["size_bytes"])))
    if "model" in facts:
        listed = (f"{name} {number}" for name, number in facts["operators"].items())
        lines.append(("opset", str(facts["opset"])))
        lines.append(("parameters", count_text(facts["parameters"])))
        lines.append(("operators", ", ".join(listed)))
        return table(lines)
    manifest, ops, macs = facts["manifest"], facts["ops"], facts["macs"]
    versions = (f"{name} {version}" for name, version in manifest["versions"].items())
    lines += [
        ("library", bytes_text(facts["library_bytes"])),
        (
            "target",
            f"{manifest['target']} ({' '.join([manifest['arch'], *manifest['features']])})",
        ),
        ("recipe", f"{facts['recipe']['name']}, because {facts['recipe']['reason']}"),
        ("operators", f"{ops['total']}: {ops['integer']} integer, {ops['float']} float"),
        ("MACs", f"{count_text(macs['total'])}, {count_text(macs['integer'])} integer"),
        ("made by", f"qcompile {manifest['qcompile']}, {', '.join(versions)}"),
        ("model", f"sha256 {manifest['model_sha256']}"),
        ("calibration", f"sha256 {manifest['calibration_sha256'] or 'none'}"),
        ("kernels", kernels_text(manifest["kernels"])),
    ]
    if manifest["tuning"]:
        lines.append(("tuning", f"tile sizes of {len(manifest['tuning'])} kernels by a log"))
    lines += [
        ("float", f"{', '.join(each['nodes'])}: {each['reason']}")
        for each in facts["float_islands"]
    ]
    return table(lines)


def kernels_text(kernels: Iterable[Mapping[str, Any]]) -> str:
    """Return how often each template is called."""
    counts = Counter(str(each["kernel"]) for each in kernels)
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def target_summary(target: Target) -> dict[str, Any]:
    """Return what one line of the list says."""
    from qcompile.host import host_arch, host_features

    here = target.arch == host_arch() and set(target.features) <= host_features()
    return {"name": target.name, "about": target.about, "arch": target.arch, "here": here}


def target_facts(target: Target) -> dict[str, Any]:
    """Return everything that a target's rows say."""
    return {
        **target_summary(target),
        "features": list(target.features),
        "rescale": target.numerics.rescale,
        "rounding": target.numerics.rounding,
        "ops": [
            {
                "op_type": row.op_type,
                "activation": [spec_text(spec) for spec in row.activation],
                "weight": [spec_text(spec) for spec in row.weight],
                "shared_scale": row.shared_scale,
            }
            for row in target.ops
        ],
    }


def spec_text(spec: QuantSpec) -> str:
    """Return a scheme in words, e.g. "int8 symmetric per-channel"."""
    kind = "symmetric" if spec.symmetric else "affine"
    return f"{spec.dtype.name.lower()} {kind}{' per-channel' if spec.per_channel else ''}"


def describe_target(facts: Mapping[str, Any]) -> str:
    """Return a target for people."""
    from qcompile.cli.tables import table

    head = [
        ("target", f"{facts['name']}: {facts['about']}"),
        ("needs", f"{facts['arch']} {' '.join(facts['features'])}"),
        ("here", "runs on this machine" if facts["here"] else "not on this machine"),
    ]
    rows = [("operator", "activations", "weights", "scales")]
    for row in facts["ops"]:
        shared = "shared" if row["shared_scale"] else ""
        cells = (
            row["op_type"],
            ", ".join(row["activation"]),
            ", ".join(row["weight"]),
            shared,
        )
        rows.append(cells)
    return f"{table(head)}\n\n{table(rows)}"
