"""QuantizeLinear and DequantizeLinear: between floats and 8-bit tensors."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.graphs.qdq import real_constant
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.dequantize import Dequantize
from qcompile.targets.kernels.quantize import Quantize
from qcompile.targets.kernels.quotient import must_divide
from qcompile.targets.kernels.view import View
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.looking import looked_through
from qcompile.targets.rules.operands import dtype_of, operand, optional, vector


def emit_quantize(node: ir.Node, emit: Emitter) -> None:
    """Emit a QuantizeLinear; a mover behind it quantizes from where the floats lie."""
    x, y = operand(node, 0), node.outputs[0]
    view = View.plain(static_shape(y))
    if looked_through(y):
        emit.defer(y, x, view, lambda: quantize(node, emit, x, view))
    else:
        quantize(node, emit, x, view)


def quantize(node: ir.Node, emit: Emitter, source: ir.Value, view: View) -> None:
    """Emit y = quantized view of floats; the layout's halo is filled on the way.

    Args:
        node: The QuantizeLinear, or the last of the movers behind it.
        emit: The emitter.
        source: The floats that the QuantizeLinear reads.
        view: Those that become y, in its row-major order.
    """
    y, first = node.outputs[0], node
    while first.op_type != "QuantizeLinear":
        before = operand(first, 0).producer()
        assert before is not None
        first = before
    scale = vector(first, 1)
    template = Quantize(
        x=view,
        y=emit.view(y),
        dtype=dtype_of(y),
        zero_point=_zero_point(first),
        divide=must_divide(float(scale.item())),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(y).size),
    )
    emit.produce(node, template, [emit.plain(source), scale])


def emit_dequantize(node: ir.Node, emit: Emitter) -> None:
    """Emit a DequantizeLinear; of a constant, its value."""
    x, y = operand(node, 0), node.outputs[0]
    value = real_constant(y)
    if value is not None:
        emit.define(y, emit.constant(value.astype(np.float32)))
        return
    buffer, view = emit.where(x)
    template = Dequantize(
        x=view,
        dtype=dtype_of(x),
        zero_point=_zero_point(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(x).size),
    )
    emit.produce(node, template, [buffer, vector(node, 1)])


def _zero_point(node: ir.Node) -> int:
    if optional(node, 2) is None:
        return zero_point_of(node.outputs[0])
    return int(vector(node, 2)[0])


RULES = {"QuantizeLinear": emit_quantize, "DequantizeLinear": emit_dequantize}
