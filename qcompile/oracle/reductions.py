"""Sums, maxima and minima over axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.graphs.reduced_axes import reduced_axes
from qcompile.ops import QREDUCESUM
from qcompile.oracle.steps import (
    LAST_STEP,
    Array,
    Operator,
    centred,
    f32,
    in_int32,
    last_step,
    present,
)


def qreducesum(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QReduceSum: exact sums over axes; a mean has its count in the multiplier."""
    x, multiplier = (present(node, inputs, index) for index in range(2))
    axes = tuple(node.attributes["axes"].as_ints())
    keepdims = bool(node.attributes["keepdims"].as_int())
    acc = np.sum(centred(node, "x", x, np.int64), axis=axes, keepdims=keepdims)
    return last_step(node, f32(in_int32(node, np.asarray(acc))) * f32(multiplier))


def reduce_max(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """Return the largest over axes."""
    return _extreme(node, inputs, np.maximum)


def reduce_min(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """Return the smallest over axes."""
    return _extreme(node, inputs, np.minimum)


def _extreme(node: ir.Node, inputs: Sequence[Array | None], choose: np.ufunc) -> Array:
    x = present(node, inputs, 0)
    axes = reduced_axes(node, inputs[1] if len(inputs) > 1 else None, x.ndim)
    keepdims = bool(node.attributes.get_int("keepdims", 1))
    return np.asarray(choose.reduce(x, axis=axes, keepdims=keepdims))


ARITHMETIC: dict[str, Operator] = {QREDUCESUM: qreducesum}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QREDUCESUM: ("axes", "keepdims", "x_zero_point", *LAST_STEP)
}
"""The attributes that have no default."""
