"""What the products of two activations compute (see `qcompile.ops`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.numerics import matmul
from qcompile.ops import QBATCHMATMUL
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


def qbatchmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QBatchMatMul: matrices times matrices, requantize."""
    a, b, multiplier = (present(node, inputs, index) for index in range(3))
    factors = centred(node, "a", a, np.int64), centred(node, "b", b, np.int64)
    return last_step(node, f32(in_int32(node, matmul(*factors))) * f32(multiplier))


ARITHMETIC: dict[str, Operator] = {QBATCHMATMUL: qbatchmatmul}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QBATCHMATMUL: ("a_zero_point", "b_zero_point", *LAST_STEP)
}
"""The attributes that have no default."""
