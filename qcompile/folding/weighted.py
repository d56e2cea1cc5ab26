"""Conv, Gemm and MatMul with a constant weight."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.folding.folding import Folding, Operand, UnfoldableError
from qcompile.folding.products import LARGEST_STEPS, Term, check_products
from qcompile.folding.weights import (
    check_accumulator,
    drop_overflowing_weights,
    integer_bias,
    integer_weight,
    room_for_bias,
)
from qcompile.graphs.rewriting import Attributes
from qcompile.numerics import multiplier
from qcompile.ops import QCONV, QMATMUL


def fold_weighted(folding: Folding) -> ir.Node:
    """A convolution becomes QConv, a matrix product QMatMul."""
    return fold_conv(folding) if folding.anchor.op_type == "Conv" else fold_matmul(folding)


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
