"""Resize, where it interpolates linearly."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.folding.folding import Folding, Operand, UnfoldableError
from qcompile.folding.products import LARGEST_STEPS, check_products
from qcompile.graphs.resize_map import (
    WEIGHT_BITS,
    constant_axes,
    transformed,
    why_not_mapped,
)
from qcompile.numerics import multiplier
from qcompile.ops import QRESIZE

ONE = float(1 << 2 * WEIGHT_BITS)
"""What the weights of one number sum to."""


def fold_resize(folding: Folding) -> ir.Node:
    """A linear Resize of the last two axes becomes QResize; 2**-22 goes to the multiplier."""
    (x, grid), anchor = folding.source(), folding.anchor
    axes = constant_axes(anchor)
    reason = why_not_mapped(anchor)
    if reason is not None or axes is None:
        raise UnfoldableError(str(reason))
    if len(axes) == 1:
        raise UnfoldableError("it interpolates a tensor of one axis")
    positions = transformed(anchor, axes)
    assert positions is not None
    lines, columns = (
        axis.linear(at) for axis, at in zip(axes[-2:], positions[-2:], strict=True)
    )
    factor = multiplier(grid.scale, 1.0, folding.y_scale * ONE)
    check_products((factor, LARGEST_STEPS << 2 * WEIGHT_BITS))
    operands: list[Operand] = [
        x,
        ("row_index", lines[0]),
        ("row_weight", lines[1]),
        ("column_index", columns[0]),
        ("column_weight", columns[1]),
        ("multiplier", factor),
    ]
    return folding.node(
        QRESIZE, operands, {"x_zero_point": grid.zero_point, **folding.last_step()}
    )
