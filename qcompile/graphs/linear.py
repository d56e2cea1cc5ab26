"""Nodes whose output channels can be scaled and shifted through their constants."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.rewriting import Names
from qcompile.regions import constant, sole_user

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

IMAGES = frozenset({"Conv", "ConvTranspose", "InstanceNormalization", "GroupNormalization"})
"""Operators whose output channels lie on axis 1."""

ROWS = frozenset({"Gemm", "MatMul", "LayerNormalization"})
"""Operators whose output channels lie on the last axis."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """A node `y = W x + b`, or a normalization with a gain and a shift.

    Attributes:
        node: The node.
        add: An Add of a constant row after it, which stands for a bias it cannot have.
        rank: Of its output.
        axis: The channel axis of its output.
        channels: How many there are.
    """

    node: ir.Node
    add: ir.Node | None
    rank: int
    axis: int
    channels: int

    @property
    def takes_shift(self) -> bool:
        """Whether it has a bias, or can get one."""
        bare = self.node.op_type == "MatMul" and rank_of(self.node.inputs[0]) != 2
        return self.add is not None or not bare

    def scale(self, factor: Floats, names: Names) -> bool:
        """Multiply the output by a factor a channel; False where that leaves float32."""
        weight, bias = constant(self.node.inputs[1]), constant(bias_of(self.node))
        assert weight is not None
        scaled = scale_channels(self.node, weight.astype(np.float64), factor)
        parts = [(self.node, 1, scaled)]
        if bias is not None:
            parts.append((self.node, 2, bias.astype(np.float64) * factor))
        if self.add is not None:
            index, row = self._row(self.add)
            parts.append((self.add, index, row * factor))
        return store(parts, names)

    def shift(self, offset: Floats, names: Names) -> bool:
        """Add an offset a channel; False where that leaves float32."""
        if self.add is not None:
            index, row = self._row(self.add)
            return store([(self.add, index, row + offset)], names)
        before = constant(bias_of(self.node))
        start = np.zeros(self.channels) if before is None else before.astype(np.float64)
        if not store([(self.node, 2, start + offset)], names):
            return False
        if self.node.op_type == "MatMul":
            self.node.op_type = "Gemm"
        return True

    def numbers(self, array: Array | None) -> Floats | None:
        """Return an operand of the output as one number a channel, or None if it is not."""
        if array is None or array.ndim > self.rank or array.dtype.kind != "f":
            return None
        shape = (1,) * (self.rank - array.ndim) + array.shape
        flat = all(size == 1 for axis, size in enumerate(shape) if axis != self.axis)
        if not flat or shape[self.axis] not in (1, self.channels):
            return None
        return np.broadcast_to(array.reshape(-1).astype(np.float64), (self.channels,))

    def _row(self, add: ir.Node) -> tuple[int, Floats]:
        index = 1 if constant(add.inputs[1]) is not None else 0
        row = self.numbers(constant(add.inputs[index]))
        assert row is not None
        return index, row


def find_linear(value: ir.Value | None) -> Linear | None:
    """Return the node that gives a value, if its constants can scale it.

    It has a constant weight and, if any, a constant bias; or it is a product without one
    that only an Add of a constant row reads.
    """
    node = value.producer() if value is not None else None
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type != "Add":
        return _bare(node)
    for inner, beside in (node.inputs[:2], node.inputs[1::-1]):
        product = inner.producer() if inner is not None else None
        if inner is None or product is None or product.op_type not in ("MatMul", "Gemm"):
            continue
        linear = _bare(product) if sole_user(inner) is node else None
        if linear is not None and linear.numbers(constant(beside)) is not None:
            same = product.graph is node.graph
            return dataclasses.replace(linear, add=node) if same else None
    return None


def _bare(node: ir.Node) -> Linear | None:
    if node.op_type not in IMAGES | ROWS or node.domain not in ("", "ai.onnx"):
        return None
    weight, bias = constant(node.inputs[1]), bias_of(node)
    offset, rank = constant(bias), rank_of(node.outputs[0])
    if weight is None or weight.dtype != np.float32 or rank is None:
        return None
    channels = output_channels(node, weight)
    if channels is None or (bias is not None and offset is None):
        return None
    if offset is not None and (
        offset.shape != (channels,) or node.attributes.get_float("beta", 1.0) != 1.0
    ):
        return None
    return Linear(node, None, rank, 1 if node.op_type in IMAGES else rank - 1, channels)


def output_channels(node: ir.Node, weight: Array) -> int | None:
    """Return how many output channels a weight has, or None where they are no one axis."""
    match node.op_type:
        case "ConvTranspose":
            return int(weight.shape[1]) * node.attributes.get_int("group", 1)
        case "LayerNormalization":
            last = (-1, (rank_of(node.inputs[0]) or 0) - 1)
            along = node.attributes.get_int("axis", -1) in last and weight.ndim == 1
            return int(weight.size) if along and len(node.outputs) == 1 else None
        case "Gemm" | "MatMul":
            flipped = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
            return int(weight.shape[0 if flipped else 1]) if weight.ndim == 2 else None
    return int(weight.shape[0])


def scale_channels(producer: ir.Node, weight: Floats, factor: Floats) -> Floats:
    """Multiply what leads to output channel o by factor[o].

    Output channels lie on axis 0 of Conv's weight, on axis 1 of ConvTranspose's within each
    group of its axis 0, and on Gemm's axis 1, or 0 under transB.
    """
    if producer.op_type == "ConvTranspose":
        group = producer.attributes.get_int("group", 1) or 1
        grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
        tail = (1,) * (weight.ndim - 2)
        return (grouped * factor.reshape(group, 1, -1, *tail)).reshape(weight.shape)
    matrix = producer.op_type in ("Gemm", "MatMul")
    if matrix and not producer.attributes.get_int("transB", 0):
        return weight * factor
    return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))


def store(parts: list[tuple[ir.Node, int, Floats]], names: Names) -> bool:
    """Make arrays the inputs of nodes; False, and nothing done, where one leaves float32."""
    with np.errstate(over="ignore"):
        rounded = [array.astype(np.float32) for _, _, array in parts]
    if not all(np.isfinite(array).all() for array in rounded):
        return False
    for (node, index, _), array in zip(parts, rounded, strict=True):
        old = node.inputs[index] if len(node.inputs) > index else None
        weight = node.inputs[1]
        assert isinstance(node.graph, ir.Graph)
        assert weight is not None
        stem = f"{weight.name}_bias" if old is None else f"{old.name}_affine"
        node.resize_inputs(max(len(node.inputs), index + 1))
        node.replace_input_with(index, names.initializer(node.graph, stem, array))
    return True


def bias_of(node: ir.Node) -> ir.Value | None:
    """Return the third input, if it is there."""
    return node.inputs[2] if len(node.inputs) > 2 else None


def rank_of(value: ir.Value | None) -> int | None:
    """Return how many dimensions a value has, where that is known."""
    return None if value is None or value.shape is None else len(value.shape)
