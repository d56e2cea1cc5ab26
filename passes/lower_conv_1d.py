"""Write convolutions and pools over one axis as those over images of height 1."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.formulas import number
from qcompile.graphs.rewriting import Names, new_type, remove_unread
from qcompile.regions import constant
from qcompile.unary import UNARY_OPS

WEIGHTED = frozenset({"Conv", "ConvTranspose"})
POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min"})

HEIGHT = 2
"""The axis that an image of rank 4 has more."""


@dataclasses.dataclass(frozen=True)
class LowerConv1d(ir.passes.InPlacePass):
    """Replace `Conv(x, W)` of rank 3 by `Squeeze(Conv(Unsqueeze(x), W'))` of rank 4.

    [N, C, L] is [N, C, 1, L], with kernel [1, k]. The same for ConvTranspose, MaxPool,
    AveragePool and GlobalAveragePool. Then every Squeeze sinks through functions of one number
    and through Add, Sub, Mul, Div, Max and Min of two squeezed values or of one and a number,
    and vanishes where it meets an Unsqueeze: a chain stays of rank 4.

    A quantized W behind a DequantizeLinear stays quantized.

    Kept: auto_pad (ResolveAutoPad runs first), output_shape, a computed weight, a pool with
    the indices as second output, an open shape.

    Example:
        before:
            g (float[1,1,8] x) => (float[1,1,4] y) <float[1,1,3] w = {1.0, 2.0, 3.0}>
            { a = Conv <strides = [2], pads = [1, 1]> (x, w)  y = Relu (a) }
        after:
            g (float[1,1,8] x) => (float[1,1,4] y)
            <float[1,1,1,3] w = {1.0, 2.0, 3.0}, int64[1] two = {2}>
            { u = Unsqueeze (x, two)  a = Conv <strides = [1, 2], pads = [0, 1, 0, 1]> (u, w)
              r = Relu (a)  y = Squeeze (r, two) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any node was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if is_flat(node):
                lift(Builder(names, node))
                modified = True
        for graph in (model.graph, *model.graph.subgraphs()):
            while sink(graph, names):
                modified = True
        return ir.passes.PassResult(model, modified)


def sink(graph: ir.Graph, names: Names) -> bool:
    """Move every Squeeze down by one node; return whether there was one."""
    modified = False
    for node in graph:
        if node.op_type == "Unsqueeze" and cancel(node):
            modified = True
        elif squeezed_operands(node):
            pass_through(Builder(names, node))
            modified = True
    return modified


def is_flat(node: ir.Node) -> bool:
    """Whether a node is a convolution or a pool over one axis that this pass can lift."""
    x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
    if node.op_type not in WEIGHTED | POOLS or node.domain not in ("", "ai.onnx"):
        return False
    shapes = [value.shape for value in (x, y) if value is not None]
    if any(shape is None or len(shape) != 3 or not shape.is_static() for shape in shapes):
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or len(node.outputs) > 1:
        return False
    return "output_shape" not in node.attributes and (
        node.op_type in POOLS or integers_or_floats(node.inputs[1]) is not None
    )


def integers_or_floats(weight: ir.Value | None) -> ir.Value | None:
    """Return the constant that a weight is, or is dequantized from by plain parameters."""
    if constant(weight) is not None:
        return weight
    node = weight.producer() if weight is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    blocked = node.attributes.get_int("block_size", 0) != 0
    stored = node.inputs[0]
    return None if blocked or constant(stored) is None else stored


def lift(build: Builder) -> None:
    """Put the node over images, between an Unsqueeze and a Squeeze, in the node's place."""
    node = build.old
    x, result = node.inputs[0], node.outputs[0].shape
    assert x is not None
    assert x.shape is not None
    assert result is not None
    inputs = [unsqueezed(build, x, "image"), *node.inputs[1:]]
    before: list[ir.Node] = []
    if node.op_type in WEIGHTED:
        inputs[1] = image_weight(build, before)
    n, c, length = result.numpy()
    y = build.op(node.op_type, inputs, shape=[n, c, 1, length])
    image = y.producer()
    assert image is not None
    image.attributes.update({name: widened(each) for name, each in node.attributes.items()})
    axes = build.integers([HEIGHT], "squeezed")
    build.replace(build.op("Squeeze", [y, axes], shape=result), others=before)
    image.name = node.name


def widened(attribute: ir.Attr) -> ir.Attr:
    """Return an attribute of the one axis for two."""
    fill = {"pads": 0, "output_padding": 0, "kernel_shape": 1, "strides": 1, "dilations": 1}
    if attribute.name not in fill:
        return attribute
    numbers = [n for each in attribute.as_ints() for n in (fill[attribute.name], each)]
    return ir.AttrInt64s(attribute.name, numbers)


def image_weight(build: Builder, replaced: list[ir.Node]) -> ir.Value:
    """Return the weight [O, I, 1, k], behind a DequantizeLinear where it was."""
    weight = build.old.inputs[1]
    stored = integers_or_floats(weight)
    array = constant(stored)
    assert weight is not None
    assert array is not None
    image = build.constant(array[:, :, None, :], "weight")
    dequantize = weight.producer()
    if dequantize is None:
        return image
    replaced.append(dequantize)
    y = build.op("DequantizeLinear", [image, *dequantize.inputs[1:]], shape=image.shape)
    lifted = y.producer()
    assert lifted is not None
    axis = dequantize.attributes.get_int("axis", 1) % array.ndim
    lifted.attributes["axis"] = ir.AttrInt64("axis", axis if axis < HEIGHT else axis + 1)
    y.type = new_type(weight)
    return y


def unsqueezed(build: Builder, x: ir.Value, role: str) -> ir.Value:
    """Return x with a height of 1."""
    assert x.shape is not None
    shape = ir.Shape([*x.shape[:HEIGHT], 1, *x.shape[HEIGHT:]])
    axes = build.integers([HEIGHT], f"{role}_axes")
    return build.op("Unsqueeze", [x, axes], shape=shape, role=role)


def image_of(value: ir.Value | None) -> ir.Value | None:
    """Return the rank-4 value that a value is the Squeeze of, if it is one."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Squeeze" or len(node.inputs) != 2:
        return None
    x, axes = node.inputs[0], constant(node.inputs[1])
    if x is None or x.shape is None or len(x.shape) != 4 or axes is None:
        return None
    return x if [int(axis) % 4 for axis in axes.reshape(-1)] == [HEIGHT] else None


def cancel(node: ir.Node) -> bool:
    """Let the readers of an Unsqueeze of a Squeeze read what is squeezed."""
    image, axes = image_of(node.inputs[0]), constant(node.inputs[1])
    if image is None or axes is None or node.outputs[0].is_graph_output():
        return False
    if [int(axis) % 4 for axis in axes.reshape(-1)] != [HEIGHT]:
        return False
    squeeze = node.inputs[0].producer() if node.inputs[0] is not None else None
    node.outputs[0].replace_all_uses_with(image)
    assert node.graph is not None
    assert squeeze is not None
    node.graph.remove(node, safe=True)
    remove_unread([squeeze])
    return True


def squeezed_operands(node: ir.Node) -> bool:
    """Whether a node can read images of height 1 instead of what is squeezed from them."""
    if node.domain not in ("", "ai.onnx") or not node.inputs:
        return False
    if node.op_type in UNARY_OPS:
        return image_of(node.inputs[0]) is not None
    if node.op_type not in BINARY or len(node.inputs) != 2:
        return False
    images = [image_of(value) is not None for value in node.inputs]
    numbers = [number(value) is not None and fits_any_rank(value) for value in node.inputs]
    return any(images) and all(map(any, zip(images, numbers, strict=True)))


def fits_any_rank(value: ir.Value | None) -> bool:
    """Whether a value has no axis, or only ones that any image has."""
    return value is not None and value.shape is not None and len(value.shape) <= 1


def pass_through(build: Builder) -> None:
    """Compute the node on images and squeeze what it gives."""
    node = build.old
    squeezes = [
        value.producer() for value in node.inputs if value is not None and image_of(value)
    ]
    inputs = [image_of(value) or value for value in node.inputs]
    (image, *_) = (value for value in map(image_of, node.inputs) if value is not None)
    result = node.outputs[0].shape
    y = build.op(node.op_type, inputs, shape=image.shape)
    computed = y.producer()
    assert computed is not None
    computed.attributes.update(node.attributes)
    axes = build.integers([HEIGHT], "squeezed")
    others = [squeeze for squeeze in dict.fromkeys(squeezes) if squeeze is not None]
    build.replace(build.op("Squeeze", [y, axes], shape=result), others=others)
    computed.name = node.name
