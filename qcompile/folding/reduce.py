"""ReduceSum and ReduceMean."""

from __future__ import annotations

import math

import onnx_ir as ir

from qcompile.folding.folding import Folding, UnfoldableError
from qcompile.folding.products import LARGEST_STEPS, check_products
from qcompile.graphs.reduced_axes import constant_axes
from qcompile.numerics import F32, INT32_MAX, multiplier
from qcompile.ops import QREDUCESUM


def fold_reduce(folding: Folding) -> ir.Node:
    """ReduceSum and ReduceMean become QReduceSum; a mean's count goes to the multiplier."""
    x, grid = folding.source()
    anchor, axes = folding.anchor, constant_axes(folding.anchor)
    if axes is None or x.shape is None or not x.shape.is_static():
        raise UnfoldableError("its axes or sizes are unknown")
    if not axes:
        raise UnfoldableError("it reduces nothing")
    count = math.prod(x.shape.numpy()[axis] for axis in axes)
    if not 0 < count * LARGEST_STEPS <= INT32_MAX:
        raise UnfoldableError(f"its sums of {count} numbers do not fit int32")
    divisor = count if anchor.op_type == "ReduceMean" else 1
    factor: F32 = multiplier(grid.scale, 1.0, folding.y_scale * divisor)
    check_products((factor, LARGEST_STEPS * count))
    return folding.node(
        QREDUCESUM,
        [x, ("multiplier", factor)],
        {
            "axes": axes,
            "keepdims": anchor.attributes.get_int("keepdims", 1),
            "x_zero_point": grid.zero_point,
            **folding.last_step(),
        },
    )
