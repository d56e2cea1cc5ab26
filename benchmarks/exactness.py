"""Compare compiled models with the oracle: `python benchmarks/exactness.py [MODEL...]`.

A build that gives every value is judged node by node: the oracle runs each node on the
compiled values of its inputs. What our integer operators computed is right or not; a float
node has a bound (`qcompile.validation.first_difference`), and beyond it counts as differing
too. The artifact's own outputs must be those of that build, or, where float nodes are fused
otherwise in it, within the same bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from contextlib import nullcontext

import numpy as np
import onnx_ir as ir

import qcompile
from benchmark_model import BenchmarkModel
from models import add_models
from qcompile.device import Device
from qcompile.model import CompiledModel
from qcompile.report import is_float, node_name
from qcompile.target import Arrays, Runner
from qcompile.targets import open_device
from qcompile.validation.first_difference import FLOAT_BOUND, different, judge
from tables import markdown

INPUTS = 20


@dataclasses.dataclass
class Comparison:
    """What came of judging nodes, summed up.

    Attributes:
        integers: Numbers that integer nodes gave.
        differing: How many of them differ from the oracle's.
        floats: Numbers that float nodes gave.
        beyond: How many of them lie beyond their bound.
        outputs: Numbers of the artifact's outputs.
        outputs_differing: How many differ from those of the build that gives every value.
    """

    integers: int = 0
    differing: int = 0
    floats: int = 0
    beyond: int = 0
    outputs: int = 0
    outputs_differing: int = 0

    def add(self, graph: ir.Model, values: Arrays, outputs: Arrays) -> None:
        """Judge every node of one run, and hold the artifact's outputs against it."""
        islands = {node_name(node) for node in graph.graph if is_float(node)}
        for judged in judge(graph, values):
            if judged["node"] in islands:
                self.floats += judged["values"]
                self.beyond += judged["differences"]
            else:
                self.integers += judged["values"]
                self.differing += judged["differences"]
        for name, array in outputs.items():
            bound = (
                FLOAT_BOUND * float(np.abs(values[name]).max(initial=0)) if islands else 0.0
            )
            self.outputs += array.size
            self.outputs_differing += int(different(values[name], array, bound).sum())


def main() -> int:
    """Compare, print a table, and return 1 if any integer differs."""
    parser = argparse.ArgumentParser(description="Compare compiled models with the oracle.")
    add_models(parser)
    parser.add_argument("--target", action="append", help="x86-vnni unless told; repeatable")
    parser.add_argument("--device", metavar="URL", help="run there: rpc://host:port/key")
    parser.add_argument("--inputs", type=int, default=INPUTS)
    options = parser.parse_args()
    os.environ.setdefault("QCOMPILE_THREADS", "1")
    rows = []
    with open_device(options.device) if options.device else nullcontext() as device:
        for model in options.models:
            for target in options.target or ["x86-vnni"]:
                rows.append(compare(model, target, options.inputs, device))
                print(f"{model.name} for {target}: compared", file=sys.stderr)
    print(markdown(rows))
    return int(any(row["differing"] or row["beyond their bound"] for row in rows))


def compare(
    model: BenchmarkModel, target: str, count: int, device: Device | None = None
) -> dict[str, object]:
    """Compile one model, run it here or on a device, and return its row."""
    compiled = qcompile.compile(model.path(), target, calibration=model.calibration_samples())
    compiled = compiled.on(device)
    every_value = open_every_value(compiled)
    comparison = Comparison()
    for sample in model.test_samples(count):
        values = {**sample, **every_value(sample)}
        comparison.add(compiled.integer_graph, values, compiled.run(sample))
    macs = compiled.report["macs"]
    return {
        "model": model.name,
        "target": target,
        "inputs": count,
        "integer MACs": f"{macs['integer'] / macs['total']:.2%}",
        "integers": comparison.integers,
        "differing": comparison.differing,
        "floats of islands": comparison.floats,
        "beyond their bound": comparison.beyond,
        "outputs": comparison.outputs,
        "unlike the artifact's": comparison.outputs_differing,
    }


def open_every_value(compiled: CompiledModel) -> Runner:
    """Return a build of the same graph that gives every value."""
    built = compiled.target.lowering.build(compiled.integer_graph, every_value=True)
    return compiled.load_library(built.library, every_value=True)


if __name__ == "__main__":
    sys.exit(main())
