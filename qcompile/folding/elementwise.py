"""Sums, products and tables: what treats elements alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.folding.folding import Folding, Operand, UnfoldableError
from qcompile.folding.products import LARGEST_STEPS, check_products
from qcompile.graphs.qdq import real_constant
from qcompile.numerics import F32, multiplier
from qcompile.ops import QADD, QLUT, QMUL
from qcompile.slopes import prelu, slope_axes
from qcompile.unary import Function, chain_function, tabulate


def fold_sum(folding: Folding) -> ir.Node:
    """Add of two activations, or of one and a constant of 8 bits, becomes QAdd; so does Sub.

    a - b = a + (-1) * b: the second multiplier is negative.
    """
    (a, a_grid), (b, b_grid) = folding.operand(0), folding.operand(1)
    factors = [multiplier(grid.scale, 1.0, folding.y_scale) for grid in (a_grid, b_grid)]
    if folding.anchor.op_type == "Sub":
        factors[1] = -factors[1]
    check_products(*((factor, LARGEST_STEPS) for factor in factors))
    operands: list[Operand] = [
        a,
        b,
        ("a_multiplier", factors[0]),
        ("b_multiplier", factors[1]),
    ]
    zero_points = {"a_zero_point": a_grid.zero_point, "b_zero_point": b_grid.zero_point}
    return folding.node(QADD, operands, {**zero_points, **folding.last_step()})


def fold_mul(folding: Folding) -> ir.Node:
    """Mul of two activations, or of one and a constant of 8 bits, becomes QMul."""
    (a, a_grid), (b, b_grid) = folding.operand(0), folding.operand(1)
    factor: F32 = multiplier(a_grid.scale, b_grid.scale, folding.y_scale)
    check_products((factor, LARGEST_STEPS**2))
    zero_points = {"a_zero_point": a_grid.zero_point, "b_zero_point": b_grid.zero_point}
    return folding.node(
        QMUL, [a, b, ("multiplier", factor)], {**zero_points, **folding.last_step()}
    )


def fold_table(folding: Folding) -> ir.Node:
    """A function of one number becomes QLut: 256 answers, or 256 for each channel."""
    (x, grid), y = folding.source(), folding.y
    if y is None:
        raise UnfoldableError("its output is not quantized")

    def answers(function: Function) -> npt.NDArray[np.generic]:
        return tabulate(
            function, grid.scale, grid.zero_point, grid.dtype, y.scale, y.zero_point, y.dtype
        )

    if folding.anchor.op_type == "PRelu":
        return _fold_prelu(folding, x, answers)
    function = chain_function(folding.region.nodes, folding.region.inputs[0])
    if function is None:
        raise UnfoldableError("it is no function of one number")
    return folding.node(QLUT, [x, ("table", answers(function))])


def _fold_prelu(
    folding: Folding, x: ir.Value, answers: Callable[[Function], npt.NDArray[np.generic]]
) -> ir.Node:
    slopes, axes = real_constant(folding.anchor.inputs[1]), slope_axes(folding.anchor)
    if slopes is None or axes is None or not np.isfinite(slopes).all():
        raise UnfoldableError("its slope is not a finite constant")
    tables = [answers(prelu(float(slope))) for slope in slopes.reshape(-1)]
    if not axes:
        return folding.node(QLUT, [x, ("table", tables[0])])
    return folding.node(QLUT, [x, ("table", np.stack(tables))], {"axis": axes[0]})
