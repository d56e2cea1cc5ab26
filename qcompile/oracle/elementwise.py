"""Sums, products and tables, element by element (see `qcompile.ops`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.numerics import fma32
from qcompile.ops import QADD, QLUT, QMUL
from qcompile.oracle.steps import (
    LAST_STEP,
    Array,
    Operator,
    centred,
    f32,
    last_step,
    present,
)
from qcompile.quant import INTEGER_RANGES


def qadd(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QAdd: the sum of two tensors of different scales, with one rounding before the last."""
    a, b, a_multiplier, b_multiplier = (present(node, inputs, index) for index in range(4))
    addend = centred(node, "b", b, np.float32) * f32(b_multiplier)
    return last_step(node, fma32(centred(node, "a", a, np.float32), f32(a_multiplier), addend))


def qmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QMul: the product of two tensors, with NumPy's broadcasting."""
    a, b, multiplier = (present(node, inputs, index) for index in range(3))
    acc = centred(node, "a", a, np.int64) * centred(node, "b", b, np.int64)
    return last_step(node, f32(acc) * f32(multiplier))


def qlut(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QLut: 256 answers, looked up; with an axis, 256 for each index along it."""
    x, table = (present(node, inputs, index) for index in range(2))
    entries = x.astype(np.int64) - INTEGER_RANGES[ir.DataType.from_numpy(x.dtype)][0]
    if "axis" not in node.attributes:
        return table[entries]
    axis = node.attributes["axis"].as_int() % x.ndim
    behind = (1,) * (x.ndim - 1 - axis)
    return table[np.arange(x.shape[axis]).reshape(-1, *behind), entries]


ARITHMETIC: dict[str, Operator] = {QADD: qadd, QMUL: qmul, QLUT: qlut}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QADD: ("a_zero_point", "b_zero_point", *LAST_STEP),
    QMUL: ("a_zero_point", "b_zero_point", *LAST_STEP),
    QLUT: (),
}
"""The attributes that have no default."""
