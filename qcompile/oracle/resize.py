"""QResize: linear interpolation between neighbours, with integer weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from qcompile.ops import QRESIZE
from qcompile.oracle.steps import LAST_STEP, Array, Operator, centred, f32, last_step, present


def qresize(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QResize: a weighted sum of two lines of two columns each."""
    x, rows, row_weights, columns, column_weights, multiplier = (
        present(node, inputs, index) for index in range(6)
    )
    steps = centred(node, "x", x, np.int32)
    wide = steps[..., columns] * column_weights.astype(np.int32)
    lines = wide.sum(axis=-1, dtype=np.int32)
    high = lines[..., rows, :] * row_weights.astype(np.int32)[..., None]
    acc = high.sum(axis=-2, dtype=np.int32)
    return last_step(node, f32(acc) * f32(multiplier))


ARITHMETIC: Mapping[str, Operator] = {QRESIZE: qresize}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: Mapping[str, tuple[str, ...]] = {QRESIZE: ("x_zero_point", *LAST_STEP)}
"""The attributes that have no default."""
