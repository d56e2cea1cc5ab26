"""QuantizeLinear and DequantizeLinear: between floats and 8-bit tensors."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.graphs.qdq import real_constant
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.dequantize import Dequantize
from qcompile.targets.kernels.quantize import Quantize
from qcompile.targets.rules.operands import dtype_of, operand, optional, vector


def emit_quantize(node: ir.Node, emit: Emitter) -> None:
    """Emit a QuantizeLinear; the layout's halo is filled on the way."""
    x, y = operand(node, 0), node.outputs[0]
    layout = emit.layout(y)
    template = Quantize(
        y=emit.view(y),
        dtype=dtype_of(y),
        zero_point=_zero_point(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(layout.size),
    )
    emit.produce(node, template, [emit.plain(x), vector(node, 1)])


def emit_dequantize(node: ir.Node, emit: Emitter) -> None:
    """Emit a DequantizeLinear; of a constant, its value."""
    x, y = operand(node, 0), node.outputs[0]
    value = real_constant(y)
    if value is not None:
        emit.define(y, emit.constant(value.astype(np.float32)))
        return
    template = Dequantize(
        x=emit.view(x),
        dtype=dtype_of(x),
        zero_point=_zero_point(node),
        lanes=emit.isa.lanes,
        parallel=emit.worth_threads(emit.layout(x).size),
    )
    emit.produce(node, template, [emit.buffer(x), vector(node, 1)])


def _zero_point(node: ir.Node) -> int:
    if optional(node, 2) is None:
        return zero_point_of(node.outputs[0])
    return int(vector(node, 2)[0])


RULES = {"QuantizeLinear": emit_quantize, "DequantizeLinear": emit_dequantize}
