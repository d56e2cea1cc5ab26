"""Sums and tables: what treats elements alike."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.folding.folding import Folding, Operand, UnfoldableError
from qcompile.folding.products import LARGEST_STEPS, check_products
from qcompile.numerics import multiplier
from qcompile.ops import QADD, QLUT
from qcompile.unary import chain_function, tabulate


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


def fold_unary(folding: Folding) -> ir.Node:
    """A function of one number becomes QLut, 256 answers."""
    (x, grid), y = folding.source(), folding.y
    function = chain_function(folding.region.nodes, folding.region.inputs[0])
    if y is None or function is None:
        raise UnfoldableError("its output is not quantized")
    answers = tabulate(
        function, grid.scale, grid.zero_point, grid.dtype, y.scale, y.zero_point, y.dtype
    )
    return folding.node(QLUT, [x, ("table", answers)])
