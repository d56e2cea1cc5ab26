"""What the checks and repairs read off a QDQ graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.qdq import BYTES, Grid, activation, along, qdq_parameters, real_constant
from qcompile.regions import constant, is_move

WEIGHTED_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
BORDERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
STANDARD = ("", "ai.onnx")


@dataclasses.dataclass(frozen=True)
class WeightedStep:
    """A convolution or matrix product whose weight is an 8-bit constant behind a DQ.

    Attributes:
        node: The operator.
        pair: The DequantizeLinear of its weight.
        integers: The stored weight.
        scale: float64, one or one a channel.
        zero_point: int64, shaped as the scale.
        axis: The output channel axis of the weight.
        x: The grid of its input, None where that is float.
    """

    node: ir.Node
    pair: ir.Node
    integers: npt.NDArray[np.generic]
    scale: npt.NDArray[np.float64]
    zero_point: npt.NDArray[np.int64]
    axis: int
    x: Grid | None

    @property
    def channels(self) -> int:
        """How many output channels the weight has (of one group)."""
        return int(self.integers.shape[self.axis])

    @property
    def scale_axis(self) -> int:
        """The axis that several scales are along."""
        return self.pair.attributes.get_int("axis", 1) % max(self.integers.ndim, 1)

    @property
    def fits(self) -> bool:
        """Whether there is one scale, or one for each output channel."""
        right = self.scale_axis == self.axis and self.scale.size == self.channels
        return self.scale.size == 1 or right

    def rows(self) -> npt.NDArray[np.int64]:
        """Return q - zero_point as [channels, inputs], the input channels last.

        That is the order in which runtimes with channels last multiply.
        """
        zero_point = along(self.zero_point, self.scale_axis, self.integers.ndim)
        centred = self.integers.astype(np.int64) - zero_point.astype(np.int64)
        channels_first = np.moveaxis(centred, self.axis, 0)
        if channels_first.ndim > 2:
            channels_first = np.moveaxis(channels_first, 1, -1)
        return channels_first.reshape(self.channels, -1)

    @property
    def bias(self) -> ir.Value | None:
        """Its third input, if it has one."""
        takes_bias = self.node.op_type != "MatMul" and len(self.node.inputs) > 2
        return self.node.inputs[2] if takes_bias else None


def nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Iterate over the standard nodes, those of sub-graphs included."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        if node.domain in STANDARD:
            yield node


def weighted_steps(graph: ir.Graph) -> Iterator[WeightedStep]:
    """Iterate over the products with a quantized constant weight."""
    for node in nodes(graph):
        pair = dequantizer(node.inputs[1]) if node.op_type in WEIGHTED_OPS else None
        parameters = qdq_parameters(pair)
        integers = constant(pair.inputs[0]) if pair is not None else None
        if pair is None or parameters is None or integers is None or integers.ndim < 2:
            continue
        scale, zero_point, dtype = parameters
        if dtype not in BYTES or not consistent(pair):
            continue
        source = activation(node.inputs[0])
        axis = channel_axis(node, integers.ndim)
        x = None if source is None else source[1]
        yield WeightedStep(node, pair, integers, scale, zero_point, axis, x)


def consistent(node: ir.Node | None) -> bool:
    """Whether the scales and zero points of a Q or DQ of a constant fit its shape."""
    parameters = qdq_parameters(node)
    integers = constant(node.inputs[0]) if node is not None else None
    if node is None or parameters is None or integers is None:
        return False
    scale, zero_point, _ = parameters
    if scale.size == 1:
        return zero_point.size == 1
    axis, rank = node.attributes.get_int("axis", 1), integers.ndim
    fits = -rank <= axis < rank and integers.shape[axis] == scale.size
    return fits and zero_point.size in (1, scale.size)


def real_number(value: ir.Value | None) -> npt.NDArray[np.float64] | None:
    """Return the real numbers of a constant, None where its scales do not fit it."""
    pair = dequantizer(value)
    return None if pair is not None and not consistent(pair) else real_constant(value)


def channel_axis(node: ir.Node, rank: int) -> int:
    """Return the output channel axis of a weight."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return rank - 1


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """Return the DequantizeLinear that gives a value, if one does."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def stored_source(value: ir.Value | None) -> ir.Value | None:
    """Return where integers come from, through what only moves them."""
    while value is not None:
        node = value.producer()
        if node is None or not is_move(node):
            return value
        value = node.inputs[0]
    return None


def has_quantized_activations(graph: ir.Graph) -> bool:
    """Whether any activation is quantized."""
    return any(
        node.op_type == "QuantizeLinear" and constant(node.inputs[0]) is None
        for node in nodes(graph)
    )
