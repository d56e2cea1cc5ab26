"""Let a product with a float answer add the float residual that follows."""

from __future__ import annotations

import dataclasses
import math

import onnx_ir as ir

from qcompile.graphs.rewriting import Names, remove_unread, take_over
from qcompile.ops import DOMAIN, QMATMUL
from qcompile.regions import sole_user


@dataclasses.dataclass(frozen=True)
class FuseFloatResidual(ir.passes.InPlacePass):
    """Replace `Add(QMatMul(x), r)` by `QMatMul(x, r)`, where r is float.

    float32(acc) * multiplier + r  ->  fma(float32(acc), multiplier, r)

    rounded once instead of twice, and the product itself is never written to memory. Of two
    products that meet in an Add the later one takes the other as its residual.

    Kept: a product that has a residual or a clamp, an 8-bit answer, another reader, or is a
    graph output; an r of another shape.

    Example:
        before:
            g (uint8[1,2] x, float[1,2] r) => (float[1,2] y)
            <int8[2,2] w = {1, 2, 3, 4}, int32[2] b = {0, 0}, float[2] m = {1.0, 2.0}>
            { a = qcompile.QMatMul <x_zero_point = 128, y_dtype = 1, y_zero_point = 0,
                                    lo = -inf, hi = inf> (x, w, b, m)
              y = Add (r, a) }
        after:
            g (uint8[1,2] x, float[1,2] r) => (float[1,2] y)
            <int8[2,2] w = {1, 2, 3, 4}, int32[2] b = {0, 0}, float[2] m = {1.0, 2.0}>
            { y = qcompile.QMatMul <x_zero_point = 128, y_dtype = 1, y_zero_point = 0,
                                    lo = -inf, hi = inf> (x, w, b, m, r) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any residual was taken in."""
        names = Names(model)
        modified = False
        for product in reversed(list(model.graph)):
            add = float_sum(product)
            if add is None:
                continue
            y, answer = product.outputs[0], add.outputs[0]
            residual = next(value for value in add.inputs if value is not y)
            attributes = {name: item.value for name, item in product.attributes.items()}
            new = names.node(
                QMATMUL,
                [*product.inputs[:4], residual],
                attributes,
                name=product.name or str(y.name),
                like=answer,
                domain=DOMAIN,
            )
            new.outputs[0].dtype = ir.DataType.FLOAT
            model.graph.insert_after(add, new)
            take_over(answer, new.outputs[0])
            remove_unread([add, product])
            new.name = product.name
            modified = True
        return ir.passes.PassResult(model, modified)


def float_sum(product: ir.Node) -> ir.Node | None:
    """Return the Add that a product can take in, or None."""
    if (product.domain, product.op_type) != (DOMAIN, QMATMUL) or len(product.inputs) > 4:
        return None
    bounds = [product.attributes.get_float(name, math.nan) for name in ("lo", "hi")]
    y, y_dtype = product.outputs[0], product.attributes.get_int("y_dtype", 0)
    if y_dtype != ir.DataType.FLOAT or bounds != [-math.inf, math.inf]:
        return None
    add = sole_user(y)
    if add is None or add.op_type != "Add" or add.domain not in ("", "ai.onnx"):
        return None
    others = [value for value in add.inputs if value is not None and value is not y]
    x, w = product.inputs[:2]
    if len(others) != 1 or x is None or w is None or x.shape is None or w.shape is None:
        return None
    return add if others[0].shape == ir.Shape([*x.shape[:-1], w.shape[-1]]) else None
