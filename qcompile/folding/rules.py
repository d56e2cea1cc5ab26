"""One rule for each operator: how a region of the QDQ graph becomes a node of integers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from qcompile.folding.folding import Folding, Operand, UnfoldableError
from qcompile.folding.pooling import average_windows
from qcompile.folding.products import LARGEST_STEPS, Term, check_products
from qcompile.folding.weights import (
    check_accumulator,
    drop_overflowing_weights,
    integer_bias,
    integer_weight,
    room_for_bias,
)
from qcompile.graphs.rewriting import Attributes
from qcompile.numerics import F32, multiplier
from qcompile.ops import QADD, QAVERAGEPOOL, QCONV, QLUT, QMATMUL, QSOFTMAX
from qcompile.regions import POOL_OPS
from qcompile.unary import UNARY_OPS, table

Rule = Callable[[Folding], ir.Node]
"""Builds the node, not yet in the graph.

Raises:
    UnfoldableError: The region must stay float; nothing has been built.
    CompileError: The model is at fault.
"""

SOFTMAX_BITS = 24
"""Exponentials are multiples of 2**-24 at the finest, so that float32 holds them exactly."""


def fold_conv(folding: Folding) -> ir.Node:
    """Conv becomes QConv; its weight, bias and scales become constants."""
    anchor = folding.anchor
    if anchor.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnfoldableError("its auto_pad is not resolved into pads")
    weight = anchor.inputs[1]
    if weight is None or weight.shape is None or len(weight.shape) != 4:
        raise UnfoldableError("it is no convolution of images")
    attributes: Attributes = {
        "strides": anchor.attributes.get_ints("strides", (1, 1)),
        "pads": anchor.attributes.get_ints("pads", (0, 0, 0, 0)),
        "dilations": anchor.attributes.get_ints("dilations", (1, 1)),
        "group": anchor.attributes.get_int("group", 1),
    }
    return _weighted(folding, QCONV, axis=0, attributes=attributes)


def fold_matmul(folding: Folding) -> ir.Node:
    """Gemm and MatMul become QMatMul with the weight as [K, N]."""
    anchor, weight = folding.anchor, folding.anchor.inputs[1]
    if weight is None or weight.shape is None or len(weight.shape) != 2:
        raise UnfoldableError("its weight is no matrix")
    if anchor.op_type == "MatMul":
        return _weighted(folding, QMATMUL, axis=1)
    for name in ("alpha", "beta"):
        if anchor.attributes.get_float(name, 1.0) != 1.0:
            raise UnfoldableError(f"its {name} is not 1")
    if anchor.attributes.get_int("transA", 0):
        raise UnfoldableError("its transA is not 0")
    return _weighted(folding, QMATMUL, axis=0 if anchor.attributes.get_int("transB", 0) else 1)


def _weighted(
    folding: Folding, op_type: str, axis: int, attributes: Attributes | None = None
) -> ir.Node:
    anchor, region = folding.anchor, folding.region
    x, x_grid = folding.source()
    residual = folding.residual()
    w, w_scale = integer_weight(anchor.inputs[1], axis)
    own_bias = anchor.inputs[2] if len(anchor.inputs) > 2 else None
    bias_value = own_bias or region.bias
    w_scale = room_for_bias(w, w_scale, bias_value, x_grid.scale, axis)
    bias = integer_bias(bias_value, x_grid.scale * w_scale, anchor)
    m = multiplier(x_grid.scale, w_scale, folding.y_scale)
    check_products((m, 1))
    if residual is None:
        w = drop_overflowing_weights(w, bias, x_grid, axis, lambda t: folding.finish(t * m))
    terms: list[Term] = [(m, check_accumulator(w, bias, x_grid, anchor, axis))]
    operands: list[Operand] = [
        x,
        ("weight", w.T.copy() if op_type == QMATMUL and axis == 0 else w),
        ("bias", bias.astype(np.int32)),
        ("multiplier", m),
    ]
    zero_points = {"x_zero_point": x_grid.zero_point}
    if residual is not None:
        r, r_grid = residual
        r_multiplier = multiplier(r_grid.scale, 1.0, folding.y_scale)
        operands += [r, ("r_multiplier", r_multiplier)]
        terms.append((r_multiplier, LARGEST_STEPS))
        zero_points["r_zero_point"] = r_grid.zero_point
    check_products(*terms)
    return folding.node(
        op_type, operands, {**(attributes or {}), **zero_points, **folding.last_step()}
    )


def fold_add(folding: Folding) -> ir.Node:
    """Add of two activations, or of one and a constant of 8 bits, becomes QAdd."""
    (a, a_grid), (b, b_grid) = folding.operand(0), folding.operand(1)
    factors = [multiplier(grid.scale, 1.0, folding.y_scale) for grid in (a_grid, b_grid)]
    check_products(*((factor, LARGEST_STEPS) for factor in factors))
    operands: list[Operand] = [
        a,
        b,
        ("a_multiplier", factors[0]),
        ("b_multiplier", factors[1]),
    ]
    zero_points = {"a_zero_point": a_grid.zero_point, "b_zero_point": b_grid.zero_point}
    return folding.node(QADD, operands, {**zero_points, **folding.last_step()})


def fold_pool(folding: Folding) -> ir.Node:
    """AveragePool and GlobalAveragePool become QAveragePool; counts go to the multiplier."""
    x, grid = folding.source()
    windows = average_windows(folding.anchor)
    if windows is None:
        raise UnfoldableError("its windows are not those of an image, or one lies beyond it")
    counts = windows.counts
    if (counts == counts[0, 0]).all():
        counts = counts[:1, :1]
    factor: F32 = multiplier(grid.scale, 1.0, folding.y_scale * counts)
    check_products((factor, LARGEST_STEPS * math.prod(windows.kernel)))
    return folding.node(
        QAVERAGEPOOL,
        [x, ("multiplier", factor)],
        {
            "kernel_shape": windows.kernel,
            "strides": windows.strides,
            "pads": windows.pads,
            "dilations": windows.dilations,
            "x_zero_point": grid.zero_point,
            **folding.last_step(),
        },
    )


def fold_softmax(folding: Folding) -> ir.Node:
    """Softmax becomes QSoftmax: a table of `exp(-s * d)` as multiples of 2**-k.

    k is the largest up to 24 for which the sum over the axis stays below 2**31.
    """
    x, grid = folding.source()
    axis, shape = folding.anchor.attributes.get_int("axis", -1), x.shape
    size = shape[axis] if shape is not None else None
    if folding.y is None:
        raise UnfoldableError("its output is not quantized")
    if not isinstance(size, int):
        raise UnfoldableError("the size of its axis is unknown")
    bits = next(k for k in range(SOFTMAX_BITS, -1, -1) if size * 2**k < 2**31)
    factor = multiplier(1.0, 1.0, folding.y_scale)
    check_products((factor, 1))
    exponentials = np.rint(np.exp(-grid.scale * np.arange(256.0)) * 2.0**bits)
    return folding.node(
        QSOFTMAX,
        [
            x,
            ("table", exponentials.astype(np.int32)),
            ("multiplier", factor),
        ],
        {"axis": axis, **folding.last_step()},
    )


def fold_unary(folding: Folding) -> ir.Node:
    """A function of one number becomes QLut, 256 answers."""
    (x, grid), y = folding.source(), folding.y
    if y is None:
        raise UnfoldableError("its output is not quantized")
    answers = table(
        folding.anchor, grid.scale, grid.zero_point, grid.dtype, y.scale, y.zero_point, y.dtype
    )
    return folding.node(QLUT, [x, ("table", answers)])


RULES: dict[str, Rule] = {
    "Conv": fold_conv,
    "Gemm": fold_matmul,
    "MatMul": fold_matmul,
    "Add": fold_add,
    "Softmax": fold_softmax,
    **dict.fromkeys(POOL_OPS, fold_pool),
    **dict.fromkeys(UNARY_OPS, fold_unary),
}
"""Operator of the anchor -> its rule."""
