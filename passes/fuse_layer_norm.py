"""Find LayerNormalization in what exporters wrote out with means and a root."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.formulas import (
    enclosed,
    number,
    other_operand,
    producer,
    readers_first,
)
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class FuseLayerNorm(ir.passes.InPlacePass):
    """Replace `(x - mean(x)) / sqrt(mean((x - mean(x))**2) + epsilon)` by LayerNormalization.

    The means are over the last axes, which are kept. The square may be a Pow or a Mul, the
    root a Sqrt, a Reciprocal of one or a Pow, the division a Div or a Mul, and x - mean(x)
    may be computed twice. Gain and shift start as 1 and 0: what follows with constants is
    folded into them by FoldChannelAffine.

    Kept: means over other axes; an inner value that something else reads or that is a graph
    output; an epsilon that is no constant; a size that is not known.

    Example:
        before:
            g (float[2,4] x) => (float[2,4] y)
            <int64[1] last = {-1}, float two = {2.0}, float epsilon = {0.00001}>
            { m = ReduceMean (x, last)  d = Sub (x, m)  p = Pow (d, two)
              v = ReduceMean (p, last)  a = Add (v, epsilon)  s = Sqrt (a)  y = Div (d, s) }
        after:
            g (float[2,4] x) => (float[2,4] y) <float[4] gain = {1.0, 1.0, 1.0, 1.0}>
            { y = LayerNormalization <axis = -1, epsilon = 0.00001> (x, gain) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            found = find_normalization(node) if node.graph is not None else None
            if found is None or not enclosed(node, found.nodes):
                continue
            build = Builder(names, node)
            gain = build.constant(np.ones(found.sizes, np.float32), "gain")
            attributes = {"axis": -len(found.sizes), "epsilon": found.epsilon}
            y = build.op(
                "LayerNormalization", [found.x, gain], attributes, shape=found.x.shape
            )
            build.replace(y, others=readers_first({*found.nodes} - {node}))
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Found:
    """A normalization of x over its last axes, whose sizes are given."""

    x: ir.Value
    sizes: tuple[int, ...]
    epsilon: float
    nodes: tuple[ir.Node, ...]


@dataclasses.dataclass(frozen=True)
class Deviation:
    """`x - mean(x)` over the axes."""

    x: ir.Value
    axes: tuple[int, ...]
    nodes: tuple[ir.Node, ...]


def find_normalization(node: ir.Node) -> Found | None:
    """Return the normalization that ends at this node."""
    if node.op_type not in ("Div", "Mul") or node.domain not in ("", "ai.onnx"):
        return None
    pairs = [node.inputs[:2], node.inputs[1::-1]]
    for above, below in pairs[: 1 if node.op_type == "Div" else 2]:
        deviation = find_deviation(above)
        root = find_root(below, inverse=node.op_type == "Mul")
        if deviation is None or root is None:
            continue
        square, power = find_square(root.mean.inputs[0])
        second = find_deviation(square)
        if second is None or (second.x, second.axes) != (deviation.x, deviation.axes):
            continue
        if mean_axes(root.mean, deviation.x) != deviation.axes or power is None:
            continue
        sizes = normalized_sizes(deviation)
        if sizes is None or deviation.x.dtype != ir.DataType.FLOAT:
            return None
        nodes = (node, *deviation.nodes, *second.nodes, *root.nodes, power, root.mean)
        return Found(deviation.x, sizes, root.epsilon, nodes)
    return None


@dataclasses.dataclass(frozen=True)
class Root:
    """`sqrt(mean + epsilon)`, or one over it."""

    mean: ir.Node
    epsilon: float
    nodes: tuple[ir.Node, ...]


def find_root(value: ir.Value | None, *, inverse: bool) -> Root | None:
    """Return the root (or one over it) of a mean plus a constant."""
    nodes: list[ir.Node] = []
    node = producer(value, "Reciprocal", "Div") if inverse else None
    if node is not None:
        if node.op_type == "Div" and number(node.inputs[0]) != 1.0:
            return None
        nodes.append(node)
        value, inverse = node.inputs[-1], False
    root = producer(value, "Sqrt", "Pow")
    if root is None or (root.op_type == "Sqrt" and inverse):
        return None
    if root.op_type == "Pow" and number(root.inputs[1]) != (-0.5 if inverse else 0.5):
        return None
    add = producer(root.inputs[0], "Add")
    if add is None:
        return None
    for value, beside in (add.inputs[:2], add.inputs[1::-1]):
        mean, epsilon = producer(value, "ReduceMean"), number(beside)
        if mean is not None and epsilon is not None:
            return Root(mean, epsilon, (*nodes, root, add))
    return None


def find_square(value: ir.Value | None) -> tuple[ir.Value | None, ir.Node | None]:
    """Return what is squared, and the node that does it."""
    node = producer(value, "Pow", "Mul")
    if node is None:
        return None, None
    if node.op_type == "Pow":
        return (node.inputs[0], node) if number(node.inputs[1]) == 2.0 else (None, None)
    same = node.inputs[0] is node.inputs[1]
    return (node.inputs[0], node) if same else (None, None)


def find_deviation(value: ir.Value | None) -> Deviation | None:
    """Return `x - mean(x)`."""
    node = producer(value, "Sub")
    mean = producer(node.inputs[1], "ReduceMean") if node is not None else None
    if node is None or mean is None:
        return None
    x = other_operand(node, mean.outputs[0])
    axes = mean_axes(mean, x)
    if x is None or mean.inputs[0] is not x or axes is None:
        return None
    return Deviation(x, axes, (node, mean))


def mean_axes(node: ir.Node, x: ir.Value | None) -> tuple[int, ...] | None:
    """Return the axes of a ReduceMean shaped as x, if it keeps them and they are the last."""
    if x is None or x.shape is None or not node.attributes.get_int("keepdims", 1):
        return None
    rank = len(x.shape)
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return None
    found = sorted(int(axis) % rank for axis in axes.reshape(-1))
    return tuple(found) if found and found == _last(rank, len(found)) else None


def _last(rank: int, count: int) -> list[int]:
    return list(range(rank - count, rank))


def normalized_sizes(deviation: Deviation) -> tuple[int, ...] | None:
    """Return the sizes of the axes, if they are known."""
    assert deviation.x.shape is not None
    sizes: Iterable[object] = [deviation.x.shape[axis] for axis in deviation.axes]
    known = [size for size in sizes if isinstance(size, int)]
    return tuple(known) if len(known) == len(deviation.axes) else None
