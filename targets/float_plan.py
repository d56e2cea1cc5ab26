"""Which float tensors lie as images: those between the windows that have kernels of ours."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile import ops
from qcompile.graphs.qdq import real_constant
from qcompile.regions import STANDARD_DOMAINS, constant, is_constant
from qcompile.targets.isa import Isa
from qcompile.targets.layout import Halo, Layout, round_up
from qcompile.targets.plan import activations, static_shape, window_halo

FLOAT = ir.DataType.FLOAT
POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})
SAME_KIND = frozenset(
    {
        "Abs",
        "Add",
        "Clip",
        "Concat",
        "Div",
        "Erf",
        "Exp",
        "Gelu",
        "Mul",
        "Neg",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Slice",
        "Sqrt",
        "Sub",
        "Tanh",
    }
)
"""Float operators whose tensors lie alike: their kernels read and write any layout."""

SOURCES = frozenset({ops.QADD, ops.QAVERAGEPOOL, ops.QCONV, ops.QMUL})
"""Integer operators that write a float answer to the layout it is planned in."""


@dataclasses.dataclass(frozen=True)
class Taps:
    """The window of a node, two numbers each; see `kernels.window.Window`."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    dilations: tuple[int, int]

    @classmethod
    def of(cls, node: ir.Node) -> Taps:
        """Return the window of a Conv or a pool over images, what is left out filled in."""
        x = node.inputs[0]
        assert x is not None
        if node.op_type == "Conv":
            assert node.inputs[1] is not None
            kernel = static_shape(node.inputs[1])[2:]
        elif node.op_type == "GlobalAveragePool":
            kernel = static_shape(x)[2:]
        else:
            kernel = tuple(node.attributes["kernel_shape"].as_ints())
        return cls(
            (kernel[0], kernel[1]),
            _two(node, "strides", 1),
            _two(node, "pads", 0),
            _two(node, "dilations", 1),
        )


def has_window_kernel(node: ir.Node) -> bool:
    """Whether a Conv or a pool of floats over images has a kernel of ours."""
    if node.op_type not in POOLS and node.op_type != "Conv":
        return False
    if node.domain not in STANDARD_DOMAINS or any(v.name for v in node.outputs[1:]):
        return False
    values = [value for value in (*node.inputs, node.outputs[0]) if value is not None]
    if any(value.dtype != FLOAT or value.shape is None for value in values):
        return False
    if len(static_shape(values[0])) != 4 or 0 in static_shape(values[-1]):
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    if node.op_type == "Conv":
        return all(has_numbers(value) for value in values[1:-1])
    odd = ("ceil_mode", "count_include_pad")
    return not all(node.attributes.get_int(name, 0) for name in odd)


def has_numbers(value: ir.Value | None) -> bool:
    """Whether a value is a constant, stored as it is or behind a DequantizeLinear."""
    return constant(value) is not None or (
        is_constant(value) and real_constant(value) is not None
    )


def float_images(graph: ir.Graph, isa: Isa) -> dict[ir.Value, Layout]:
    """Return the layout of every float tensor that lies as images.

    Those are what the windows of ours read and write, directly or through operators that keep
    the order. What another operator writes row by row is moved where it is read.
    """
    linked: set[ir.Value] = set()
    while True:
        size = len(linked)
        for node in graph:
            images = [value for value in (*node.inputs, *node.outputs) if _can_be(value)]
            touched = node.op_type in SAME_KIND and any(value in linked for value in images)
            if has_window_kernel(node) or touched:
                linked.update(value for value in images if value is not None)
        if len(linked) == size:
            break
    return {
        value: image_layout(value, isa)
        for value in activations(graph)
        if value in linked and _is_written_so(value)
    }


def float_halo(value: ir.Value) -> Halo:
    """Return the border that the float convolutions reading a value need."""
    halo = Halo()
    for node in value.consumers():
        if node.op_type == "Conv" and node.inputs[0] is value and has_window_kernel(node):
            taps, y = Taps.of(node), static_shape(node.outputs[0])
            halo = halo.union(
                window_halo(
                    static_shape(value),
                    y,
                    taps.kernel,
                    taps.strides,
                    taps.pads,
                    taps.dilations,
                )
            )
    return halo


def is_depthwise(node: ir.Node) -> bool:
    """Whether a Conv takes every channel by itself."""
    group = node.attributes.get_int("group", 1)
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    return group > 1 and group == static_shape(x)[1] == static_shape(y)[1]


def image_layout(value: ir.Value, isa: Isa) -> Layout:
    """Return whole vectors of channels; the few of an input are stored as they are."""
    channels = static_shape(value)[1]
    dense = all(
        node.op_type == "Conv" and not is_depthwise(node) for node in value.consumers()
    )
    narrow = value.producer() is None and dense and channels < isa.channels
    padded = channels if narrow else round_up(channels, isa.channels)
    layout = Layout.spatial(static_shape(value), halo=float_halo(value))
    return dataclasses.replace(layout, c_pad=padded)


def _can_be(value: ir.Value | None) -> bool:
    if value is None or value.dtype != FLOAT or value.shape is None:
        return False
    return value.const_value is None and len(value.shape) == 4


def _is_written_so(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None or producer.op_type in SAME_KIND:
        return True
    return producer.op_type in SOURCES or has_window_kernel(producer)


def _two(node: ir.Node, name: str, default: int) -> tuple[int, int]:
    numbers = node.attributes.get_ints(name) or (default, default)
    return numbers[0], numbers[1]
