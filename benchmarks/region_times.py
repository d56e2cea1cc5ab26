"""Measure what operators take in integers and in float: `python benchmarks/region_times.py`.

Each operator is compiled by itself, once in integers between a QuantizeLinear and a
DequantizeLinear and once in float, and its kernels are timed on one thread. The figures are
nanoseconds an element, the greater of what goes in and what comes out; a row of
targets/speeds.py is made of them.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser

import qcompile
from qcompile.config import CompileConfig, Override
from qcompile.errors import CalibrationWarning
from qcompile.explanation import Explanation
from tables import markdown

IMAGES = "float[1,64,40,40]"
HEADER = '<ir_version: 10, opset_import: ["" : 21]> '
PER_ELEMENT = {
    "Add": f"({IMAGES} x, {IMAGES} w) => ({IMAGES} y) {{ y = Add(x, w) }}",
    "AveragePool": f"""({IMAGES} x) => ({IMAGES} y)
        {{ y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) }}""",
    "Concat": f"""({IMAGES} x, {IMAGES} w) => (float[1,128,40,40] y)
        {{ y = Concat <axis = 1> (x, w) }}""",
    "GlobalAveragePool": f"({IMAGES} x) => (float[1,64,1,1] y) {{ y = GlobalAveragePool(x) }}",
    "MaxPool": f"""({IMAGES} x) => ({IMAGES} y)
        {{ y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) }}""",
    "Mul": f"({IMAGES} x, {IMAGES} w) => ({IMAGES} y) {{ y = Mul(x, w) }}",
    "ReduceMean": """(float[1600,64] x) => (float[1600] y) <int64[1] a = {1}>
        { y = ReduceMean <keepdims = 0> (x, a) }""",
    "Resize": f"""({IMAGES} x) => (float[1,64,80,80] y) <float[4] s = {{1., 1., 2., 2.}}>
        {{ y = Resize <mode = "linear"> (x, , s) }}""",
    "Sigmoid": f"({IMAGES} x) => ({IMAGES} y) {{ y = Sigmoid(x) }}",
    "HardSwish": f"({IMAGES} x) => ({IMAGES} y) {{ y = HardSwish(x) }}",
    "Relu": f"({IMAGES} x) => ({IMAGES} y) {{ y = Relu(x) }}",
    "Softmax": "(float[1600,64] x) => (float[1600,64] y) { y = Softmax(x) }",
    "Transpose": """(float[1600,64] x) => (float[64,1600] y)
        { y = Transpose <perm = [1, 0]> (x) }""",
}
TINY = "(float[1,16] x) => (float[1,16] y) { y = Sigmoid(x) }"
NAME = "operator"
BORDERS = ("Quantize", "Dequantize")
RUNS = 300


def main() -> int:
    """Print a row an operator, and what the borders and a tiny kernel take."""
    os.environ.setdefault("QCOMPILE_THREADS", "1")
    warnings.simplefilter("ignore", CalibrationWarning)
    target = sys.argv[1] if len(sys.argv) > 1 else "native"
    rows: list[Mapping[str, object]] = []
    for name, text in PER_ELEMENT.items():
        size = elements(text)
        integer = explained(text, target, integers=True)
        borders = {kind: nanoseconds(integer, kind) for kind in BORDERS}
        real = explained(text, target, integers=False)
        inputs = 2 if "w)" in text else 1
        rows.append(
            {
                "operator": name,
                "integer": nanoseconds(integer) / size,
                "float": nanoseconds(real) / size,
                "QuantizeLinear": borders["Quantize"] / input_elements(text) / inputs,
                "DequantizeLinear": borders["Dequantize"] / output_elements(text),
            }
        )
        print(name, file=sys.stderr)
    print(markdown(rows))
    tiny = explained(TINY, target, integers=False)
    print(f"a kernel of 16 elements: {tiny.total_ms * 1e6:.0f} ns")
    return 0


def explained(text: str, target: str, *, integers: bool) -> Explanation:
    """Return the times of a graph's kernels; the fastest of three."""
    model = onnx.parser.parse_model(f"{HEADER} g {text}")
    names = {node.op_type for node in model.graph.node}
    model.graph.node[0].name = NAME
    random = np.random.default_rng(0)
    sample = {
        value.name: random.normal(
            0, 1, [size.dim_value for size in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }
    config = CompileConfig(
        recipe="static-int8" if integers else "float",
        ops={name: Override(float=False) for name in names} if integers else {},
    )
    compiled = qcompile.compile(
        model, target, calibration=[sample] if integers else None, config=config
    )
    found = [compiled.explain(threads=1, runs=RUNS) for _ in range(3)]
    return min(found, key=lambda each: each.total_ms)


def nanoseconds(explanation: Explanation, kernel: str = "") -> float:
    """Return what the kernels of a kind take; of none, those of the operator itself.

    Not the changes of layout at both ends, which no model has between its operators.
    """
    rows = [row for row in explanation.rows if row.kernel == kernel]
    if not kernel:
        rows = [
            row for row in explanation.rows if row.node == NAME and row.kernel not in BORDERS
        ]
    return sum(row.ms * 1e6 for row in rows)


def elements(text: str) -> int:
    """Return the greater of a graph's first input and its output."""
    return max(input_elements(text), output_elements(text))


def input_elements(text: str) -> int:
    """Return the elements of the first input."""
    return _size(text, 0)


def output_elements(text: str) -> int:
    """Return the elements of the output."""
    return _size(text, -1)


def _size(text: str, index: int) -> int:
    head = text.split("{ y =")[0].split("<")[0]
    shapes = [each.split("]")[0] for each in head.split("float[")[1:]]
    return int(np.prod([int(size) for size in shapes[index].split(",")]))


if __name__ == "__main__":
    sys.exit(main())
