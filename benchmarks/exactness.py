"""Compare compiled models with the oracle: `python benchmarks/exactness.py [MODEL...]`.

On every input two builds are compared: the artifact by its outputs, and a second build of the
same graph that gives every value. A value that our integer operators computed is right or
not; one that a float island computed may differ in its last bits, and its largest error is
shown beside.
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
from qcompile import ops, oracle
from qcompile.device import Device
from qcompile.model import CompiledModel
from qcompile.target import Arrays, Runner
from qcompile.targets import open_device
from tables import markdown

INPUTS = 20


@dataclasses.dataclass
class Comparison:
    """What came of comparing arrays, summed up.

    Attributes:
        exact: The values that have one right bit pattern, by name.
        compared: Numbers compared of those.
        differing: How many of them differ.
        island_error: The largest difference of any other number.
    """

    exact: frozenset[str]
    compared: int = 0
    differing: int = 0
    island_error: float = 0.0

    def add(self, expected: Arrays, got: Arrays) -> None:
        """Compare each array that the compiled model gave."""
        for name, array in got.items():
            if name in self.exact:
                self.compared += array.size
                self.differing += int(np.count_nonzero(array != expected[name]))
            else:
                error = np.abs(np.subtract(array, expected[name], dtype=np.float64))
                self.island_error = max(self.island_error, float(error.max(initial=0)))


def exact_values(graph: ir.Graph) -> frozenset[str]:
    """Return the values that are integers, or floats straight from one of our operators."""
    return frozenset(
        str(value.name)
        for node in graph
        for value in node.outputs
        if node.domain == ops.DOMAIN or (value.dtype is not None and value.dtype.is_integer())
    )


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
    return int(any(row["differing"] for row in rows))


def compare(
    model: BenchmarkModel, target: str, count: int, device: Device | None = None
) -> dict[str, object]:
    """Compile one model, run it here or on a device, and return its row."""
    compiled = qcompile.compile(model.path(), target, calibration=model.calibration_samples())
    compiled = compiled.on(device)
    every_value = open_every_value(compiled)
    comparison = Comparison(exact_values(compiled.integer_graph.graph))
    for sample in model.test_samples(count):
        expected = oracle.run(compiled.integer_graph, sample, every_value=True)
        comparison.add(expected, compiled.run(sample))
        comparison.add(expected, every_value(sample))
    macs = compiled.report["macs"]
    return {
        "model": model.name,
        "target": target,
        "inputs": count,
        "integer MACs": f"{macs['integer'] / macs['total']:.2%}",
        "numbers compared": comparison.compared,
        "differing": comparison.differing,
        "largest error of float islands": comparison.island_error,
    }


def open_every_value(compiled: CompiledModel) -> Runner:
    """Return a build of the same graph that gives every value."""
    built = compiled.target.lowering.build(compiled.integer_graph, every_value=True)
    return compiled.load_library(built.library, every_value=True)


if __name__ == "__main__":
    sys.exit(main())
