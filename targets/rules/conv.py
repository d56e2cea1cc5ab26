"""QConv and QMatMul: dense and depthwise convolutions over packed weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from qcompile import ops
from qcompile.targets.emitter import Array, Buffer, Emitter
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.depthwise_conv import DepthwiseConv
from qcompile.targets.layout import Layout
from qcompile.targets.plan import static_shape
from qcompile.targets.rules.operands import (
    WIDEST,
    array,
    dtype_of,
    epilogue_of,
    operand,
    optional,
    pair,
)
from qcompile.targets.rules.phases import find_merge, place_phases, planes, reordered


def emit_conv(node: ir.Node, emit: Emitter) -> None:
    """Emit a QConv over images."""
    x, y, weight = operand(node, 0), node.outputs[0], array(node, 1)
    group = node.attributes["group"].as_int()
    target = emit.layouts.get(y) or Layout.spatial(static_shape(y), emit.isa.channels)
    depthwise = group == weight.shape[0] == static_shape(x)[1] and group > 1
    merge = find_merge(node) if group == 1 and optional(node, 4) is None else None
    phases = merge.phases(emit) if merge is not None else None
    if phases is None and not depthwise:
        target = planes(y, emit) or target
    fields = operands(node, emit, emit.layout(x), phases or target)
    fields["kernel"] = weight.shape[2:]
    fields |= {name: pair(node, name) for name in ("strides", "dilations", "pads")}
    template = DepthwiseConv(**fields) if depthwise else DenseConv(**fields, group=group)
    if merge is None or phases is None:
        _produce(node, emit, template, weight, emit.buffer(x), template.y.whole)
        return
    channels = merge.channels(phases)
    constants = [weight, array(node, 2), array(node, 3)]
    constants = [reordered(each, channels) for each in constants]
    buffer = _call(node, emit, template, constants, emit.buffer(x))
    place_phases(node, merge, phases, buffer, emit)


def emit_matmul(node: ir.Node, emit: Emitter) -> None:
    """Emit a QMatMul as a 1x1 convolution over rows."""
    x, y, weight = operand(node, 0), node.outputs[0], array(node, 1)
    source = Layout.rows(static_shape(x), emit.isa.channels)
    target = rows_layout(y, emit)
    template = DenseConv(**operands(node, emit, source, target))
    kernel = np.ascontiguousarray(weight.T)[:, :, None, None]
    _produce(node, emit, template, kernel, emit.buffer(x, source), target)


def operands(node: ir.Node, emit: Emitter, source: Layout, target: Layout) -> dict[str, Any]:
    """Return the fields that both templates and both operators share."""
    residual = optional(node, 4)
    fields: dict[str, Any] = {
        "x": source,
        "y": target,
        "isa": emit.isa,
        "epilogue": epilogue_of(node, largest(node)),
    }
    if residual is not None:
        fields["residual"] = residual_layout(node, emit)
        fields["r_dtype"] = dtype_of(residual)
        fields["r_zero_point"] = node.attributes.get_int("r_zero_point", 0)
    return fields


def largest(node: ir.Node) -> float:
    """Return what |t| cannot exceed: all products and the bias of one sign, and the residual.

    max over channels of (255 * sum |w| + |bias|) * |multiplier|, + 255 * |r_multiplier|
    """
    weight = np.abs(array(node, 1).astype(np.int64))
    channel = 0 if node.op_type == ops.QCONV else weight.ndim - 1
    sums = weight.sum(axis=tuple(axis for axis in range(weight.ndim) if axis != channel))
    totals = WIDEST * sums + np.abs(array(node, 2).astype(np.int64))
    most = float(np.max(totals * np.abs(array(node, 3).astype(np.float64)), initial=0.0))
    if optional(node, 4) is None:
        return most
    if optional(node, 5) is None:
        return math.inf  # a float residual may be anything
    return most + WIDEST * abs(float(array(node, 5).item()))


def residual_layout(node: ir.Node, emit: Emitter) -> Layout:
    """Return where the residual must lie: for a QMatMul as rows, else as planned."""
    residual = operand(node, 4)
    return emit.layout(residual) if node.op_type == ops.QCONV else rows_layout(residual, emit)


def rows_layout(value: ir.Value, emit: Emitter) -> Layout:
    """Return the rows of a value: padded to vectors if it is 8-bit, else without a gap."""
    channels = emit.isa.channels if value in emit.layouts else 1
    return Layout.rows(static_shape(value), channels)


def _produce(
    node: ir.Node, emit: Emitter, template: Any, weight: Array, x: Buffer, target: Layout
) -> None:
    """Emit the kernel of a node, and say where its output lies."""
    constants = [weight, array(node, 2), array(node, 3)]
    emit.define(node.outputs[0], _call(node, emit, template, constants, x), target)


def _call(
    node: ir.Node, emit: Emitter, template: Any, constants: Sequence[Array], x: Buffer
) -> Buffer:
    """Emit the kernel of a node, with weight, bias and multiplier by output channel."""
    parallel = emit.worth_launch(template.macs(), x)
    template = emit.tuned(dataclasses.replace(template, parallel=parallel))
    packed = template.pack(*constants, node.attributes["x_zero_point"].as_int())
    extra: list[Buffer | Array] = []
    if optional(node, 4) is not None:
        residual = emit.buffer(operand(node, 4), residual_layout(node, emit))
        factor = [array(node, 5).reshape(1)] if optional(node, 5) is not None else []
        extra = [residual, *factor]
    return emit.call(
        template,
        [x, *packed, *extra],
        size=template.y.size,
        dtype=node.outputs[0].dtype,
        node=str(node.name or node.outputs[0].name),
        tile=str(template.tile),
        macs=template.macs(),
    )


RULES = {ops.QCONV: emit_conv, ops.QMATMUL: emit_matmul}
