"""QReduceSum, ReduceMax and ReduceMin: views without the axes that are reduced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from qcompile import ops
from qcompile.graphs.reduced_axes import constant_axes
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.reduce import ReduceExtreme, ReduceSum
from qcompile.targets.rules.operands import dtype_of, epilogue_of, operand, vector


def emit_reduce_sum(node: ir.Node, emit: Emitter) -> None:
    """Emit a QReduceSum."""
    template = ReduceSum(
        **_operands(node, emit, node.attributes["axes"].as_ints()),
        x_zero_point=node.attributes["x_zero_point"].as_int(),
        epilogue=epilogue_of(node),
    )
    emit.produce(node, template, [emit.buffer(operand(node, 0)), vector(node, 1)])


def emit_reduce_extreme(node: ir.Node, emit: Emitter) -> None:
    """Emit a ReduceMax or ReduceMin of integers."""
    axes = constant_axes(node)
    assert axes is not None, node.name
    template = ReduceExtreme(
        **_operands(node, emit, axes),
        largest=node.op_type == "ReduceMax",
        zero_point=zero_point_of(node.outputs[0]),
    )
    emit.produce(node, template, [emit.buffer(operand(node, 0))])


def _operands(node: ir.Node, emit: Emitter, axes: Sequence[int]) -> dict[str, Any]:
    x, y = emit.view(operand(node, 0)), emit.view(node.outputs[0])
    keepdims = bool(node.attributes.get_int("keepdims", 1))
    return {
        "x": x,
        "axes": tuple(axes),
        "y": y.without(axes) if keepdims else y,
        "x_dtype": dtype_of(operand(node, 0)),
        "lanes": emit.isa.lanes,
        "parallel": emit.worth_threads(x.layout.size),
    }


RULES = {
    ops.QREDUCESUM: emit_reduce_sum,
    "ReduceMax": emit_reduce_extreme,
    "ReduceMin": emit_reduce_extreme,
}
