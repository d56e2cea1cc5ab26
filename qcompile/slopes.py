"""PRelu: a function of one number, whose slope may differ from channel to channel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.unary import F64, Function


def slope_axes(node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes of x along which a PRelu's slope differs; None where unknown."""
    x, slope = node.inputs[0], node.inputs[1]
    if x is None or slope is None or x.shape is None or slope.shape is None:
        return None
    missing = len(x.shape) - len(slope.shape)
    if missing < 0:
        return None
    return tuple(missing + axis for axis, size in enumerate(slope.shape) if size != 1)


def prelu(slope: float) -> Function:
    """Return x for x >= 0, slope * x below."""

    def function(x: F64) -> F64:
        return np.where(x < 0, slope * x, x)

    return function
