"""Find the first node whose compiled value differs from the oracle's.

Every node is judged alone: the oracle runs it on the *compiled* values of its inputs, so a
difference is never the echo of an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile import oracle
from qcompile.report import is_float, node_name
from qcompile.target import Arrays

Array = npt.NDArray[np.generic]

FLOAT_BOUND = 1e-5
"""Allowed error of a float island's node, relative to the largest magnitude it adds up.

Two orders of the same K float32 terms differ by about sqrt(K) * 2**-24 of the sum of their
magnitudes: 1e-5 leaves room for K = 28 000, and for the last bits of a library's exp or tanh.
"""

SUMS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "GlobalAveragePool"}
    | {"ReduceMean", "ReduceSum"}
)
"""Linear operators: run on absolute values they give the magnitudes that are added up."""


class _Required(TypedDict):
    node: str
    op_type: str
    index: list[int]
    expected: float
    got: float
    count: int


class Difference(_Required, total=False):
    """Where compiled and oracle part: `index` is the first element of `count` that differ.

    Where not even the shapes are equal, `shapes` has them and `index` is empty.
    """

    shapes: tuple[list[int], list[int]]


class Judged(TypedDict):
    """One node held against the oracle: how many of its values differ."""

    node: str
    op_type: str
    values: int
    differences: int
    difference: Difference | None


def judge(model: ir.Model, values: Arrays) -> Iterator[Judged]:
    """Hold every node against the oracle, in graph order.

    Args:
        model: The integer graph.
        values: The compiled value of every graph input and every node output, by name.
    """
    constants = {
        str(value.name): value.const_value.numpy()
        for value in model.graph.initializers.values()
        if value.const_value is not None
    }
    known = {**constants, **values}
    for node in model.graph:
        inputs = [None if value is None else known[str(value.name)] for value in node.inputs]
        outer = {str(value.name): known[str(value.name)] for value in oracle.captured(node)}
        for value, expected in zip(
            node.outputs, oracle.run_node(node, inputs, outer), strict=True
        ):
            if not value.name:
                continue
            bound = float_bound(node, inputs, expected) if is_float(node) else 0.0
            difference = compare(node, expected, known[value.name], bound)
            yield {
                "node": node_name(node),
                "op_type": node.op_type,
                "values": expected.size,
                "differences": difference["count"] if difference is not None else 0,
                "difference": difference,
            }


def float_bound(node: ir.Node, inputs: Sequence[Array | None], expected: Array) -> float:
    """Return the absolute error that a float node may have on these inputs."""
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0
    added = expected
    if node.op_type in SUMS:
        absolute = [
            np.abs(array) if array is not None and array.dtype.kind == "f" else array
            for array in inputs
        ]
        added = oracle.run_node(node, absolute)[0]
    return FLOAT_BOUND * largest(added)


def largest(array: Array) -> float:
    """Return the largest magnitude among the finite numbers of a float array."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def compare(node: ir.Node, expected: Array, got: Array, bound: float) -> Difference | None:
    """Return how the two arrays differ by more than the bound; NaN equals NaN."""
    if expected.shape != got.shape:
        return {
            "node": node_name(node),
            "op_type": node.op_type,
            "index": [],
            "expected": math.nan,
            "got": math.nan,
            "count": max(expected.size, 1),
            "shapes": (list(expected.shape), list(got.shape)),
        }
    differs = different(expected, got, bound)
    if not differs.any():
        return None
    index = tuple(int(position) for position in np.argwhere(differs)[0])
    return {
        "node": node_name(node),
        "op_type": node.op_type,
        "index": list(index),
        "expected": float(expected[index]),
        "got": float(got[index]),
        "count": int(np.count_nonzero(differs)),
    }


def different(expected: Array, got: Array, bound: float) -> npt.NDArray[np.bool_]:
    """Return which elements differ by more than the bound; one True for another shape."""
    if expected.shape != got.shape:
        return np.ones(1, np.bool_)
    unequal = np.asarray(expected != got)
    if expected.dtype.kind != "f":
        return unequal
    x, y = expected.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        close = np.abs(x - y) <= bound
    return np.asarray(unequal & ~close & ~(np.isnan(x) & np.isnan(y)))
