"""Choose where each 8-bit tensor of the integer graph lies, before any kernel is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from qcompile import ops
from qcompile.targets.isa import Isa
from qcompile.targets.layout import Halo, Layout, round_up

EIGHT_BITS = (ir.DataType.UINT8, ir.DataType.INT8)

SPATIAL_OPS = frozenset({ops.QCONV, ops.QAVERAGEPOOL, ops.QRESIZE, "MaxPool"})
"""Operators with a window: their rank-4 tensors are channels-last images."""

SAME_KIND_OPS = frozenset(
    {
        ops.QADD,
        ops.QMUL,
        ops.QLUT,
        ops.QREDUCESUM,
        "Concat",
        "Expand",
        "Gather",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Resize",
        "Slice",
        "Tile",
        "Where",
    }
)
"""Operators whose tensors lie alike."""


def plan_layouts(graph: ir.Graph, isa: Isa) -> dict[ir.Value, Layout]:
    """Return the layout of every 8-bit activation of the graph.

    A rank-4 tensor that a window operator touches, directly or through operators that keep
    the order, lies as images; every other one as rows of its last axis. Images carry the halo
    that their convolutions read, so no convolution tests for a border. A single number, as
    the zero point of a DynamicQuantizeLinear, lies plain.
    """
    values = [
        value
        for value in activations(graph)
        if value.dtype in EIGHT_BITS and static_shape(value)
    ]
    images = spatial_values(graph)
    layouts = {}
    for value in values:
        shape = static_shape(value)
        if value in images:
            channels = round_up(shape[1], channel_multiple(value, isa))
            layouts[value] = dataclasses.replace(
                Layout.spatial(shape, halo=required_halo(value)), c_pad=channels
            )
        else:
            layouts[value] = Layout.rows(shape, isa.channels)
    return layouts


def activations(graph: ir.Graph) -> Iterable[ir.Value]:
    """Yield the graph inputs and every node output."""
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """Return the shape of a value; an integer graph has static shapes only."""
    assert value.shape is not None, value.name
    return tuple(int(size) for size in value.shape.numpy())


def spatial_values(graph: ir.Graph) -> set[ir.Value]:
    """Return the rank-4 values that lie as images."""
    images: set[ir.Value] = set()
    while True:
        size = len(images)
        for node in graph:
            if node.op_type not in SPATIAL_OPS | SAME_KIND_OPS:
                continue
            linked = [value for value in image_operands(node) if len(static_shape(value)) == 4]
            if node.op_type in SPATIAL_OPS or any(value in images for value in linked):
                images.update(linked)
        if len(images) == size:
            return images


def image_operands(node: ir.Node) -> list[ir.Value]:
    """Return the operands that lie like the node's output: not its weights and constants."""
    operands = [*node.inputs, *node.outputs]
    return [
        value
        for value in operands
        if value is not None and value.dtype in EIGHT_BITS and value.const_value is None
    ]


def required_halo(value: ir.Value) -> Halo:
    """Return the border that the convolutions reading this value need."""
    halo = Halo()
    for node in value.consumers():
        if node.op_type == ops.QCONV and node.inputs[0] is value:
            halo = halo.union(conv_halo(node))
    return halo


def conv_halo(node: ir.Node) -> Halo:
    """Return the pixels around its input that a QConv reads.

    At the far ends this can be less than the pads: a stride may not reach them.
    """
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    pads = node.attributes["pads"].as_ints()
    strides = node.attributes["strides"].as_ints()
    dilations = node.attributes["dilations"].as_ints()
    kernel = static_shape(weight)[2:]
    return window_halo(static_shape(x), static_shape(y), kernel, strides, pads, dilations)


def window_halo(
    x: Sequence[int],
    y: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Halo:
    """Return the pixels around images x that the windows of y reach."""
    far = []
    for axis in range(2):
        steps = (y[2 + axis] - 1) * strides[axis]
        reach = steps + (kernel[axis] - 1) * dilations[axis] + 1
        far.append(max(0, reach - pads[axis] - x[2 + axis]))
    return Halo(pads[0], pads[1], far[0], far[1])


def channel_multiple(value: ir.Value, isa: Isa) -> int:
    """Return what the stored channels are rounded to: a vector, or a dot group at the entry.

    The few channels of a network's input, read by dense convolutions or cut to pieces, are
    not worth a vector: they are stored as one dot group.
    """
    producer = value.producer()
    if producer is not None and producer.op_type == "Transpose":
        source = producer.inputs[0]
        assert source is not None
        producer = source.producer()
    narrow = producer is None or producer.op_type == "QuantizeLinear"
    dense = all(
        node.op_type == "Slice"
        or (node.op_type == ops.QCONV and node.attributes["group"].as_int() == 1)
        for node in value.consumers()
    )
    few = static_shape(value)[1] < isa.channels
    alone = narrow and dense and few and not value.is_graph_output()
    return isa.k_group if alone else isa.channels
