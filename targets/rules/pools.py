"""QAveragePool and MaxPool: windows over images."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Emitter, zero_point_of
from qcompile.targets.kernels.average_pool import AveragePool
from qcompile.targets.kernels.max_pool import MaxPool
from qcompile.targets.kernels.window import Window
from qcompile.targets.layout import Layout
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import array, dtype_of, epilogue_of, operand, pair


def emit_average_pool(node: ir.Node, emit: Emitter) -> None:
    """Emit a QAveragePool."""
    y = node.outputs[0]
    multiplier = array(node, 1)
    target = emit.layouts.get(y) or Layout.spatial(static_shape(y), emit.isa.channels)
    template = AveragePool(
        **_operands(node, emit, target),
        x_zero_point=node.attributes["x_zero_point"].as_int(),
        epilogue=epilogue_of(node),
        per_position=multiplier.size > 1,
    )
    source = emit.buffer(operand(node, 0))
    emit.produce(node, template, [source, multiplier.reshape(-1)], layout=target)


def emit_max_pool(node: ir.Node, emit: Emitter) -> None:
    """Emit a MaxPool of integers."""
    target = emit.layout(node.outputs[0])
    template = MaxPool(
        **_operands(node, emit, target), zero_point=zero_point_of(node.outputs[0])
    )
    emit.produce(node, template, [emit.buffer(operand(node, 0))])


def _operands(node: ir.Node, emit: Emitter, target: Layout) -> dict[str, Any]:
    x = operand(node, 0)
    ones, zeros = (1, 1), (0, 0)
    window = Window(
        kernel=pair(node, "kernel_shape"),
        strides=pair(node, "strides") if "strides" in node.attributes else ones,
        pads=pair(node, "pads") if "pads" in node.attributes else zeros,
        dilations=pair(node, "dilations") if "dilations" in node.attributes else ones,
    )
    return {
        "x": emit.layout(x),
        "y": target,
        "window": window,
        "dtype": dtype_of(x),
        "lanes": emit.isa.lanes,
        "parallel": emit.worth_threads(emit.layout(x).size),
    }


RULES = {ops.QAVERAGEPOOL: emit_average_pool, "MaxPool": emit_max_pool}
