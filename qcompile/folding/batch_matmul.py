"""Matrix products of two activations."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.folding.folding import Folding, UnfoldableError
from qcompile.folding.products import check_products
from qcompile.graphs.qdq import Grid
from qcompile.numerics import INT32_MAX, multiplier
from qcompile.ops import QBATCHMATMUL


def fold_batch_matmul(folding: Folding) -> ir.Node:
    """MatMul of two activations becomes QBatchMatMul, if no sum can leave int32."""
    (a, a_grid), (b, b_grid) = folding.operand(0), folding.operand(1)
    depth = a.shape[-1] if a.shape is not None else None
    if not isinstance(depth, int):
        raise UnfoldableError("the size of the axis that it sums over is unknown")
    largest = depth * farthest(a_grid) * farthest(b_grid)
    if largest > INT32_MAX:
        raise UnfoldableError(f"it sums {depth} products, which int32 may not hold")
    factor = multiplier(a_grid.scale, b_grid.scale, folding.y_scale)
    check_products((factor, largest))
    zero_points = {"a_zero_point": a_grid.zero_point, "b_zero_point": b_grid.zero_point}
    return folding.node(
        QBATCHMATMUL, [a, b, ("multiplier", factor)], {**zero_points, **folding.last_step()}
    )


def farthest(grid: Grid) -> int:
    """Return how far an integer may lie from the zero point."""
    low, high = grid.bounds
    return max(high - grid.zero_point, grid.zero_point - low)
