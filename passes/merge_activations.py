"""Merge chains of Relu, Clip, Min and Max with constants into one Relu or Clip."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from qcompile.graphs.rewriting import Names, remove_unread
from qcompile.regions import constant, sole_user

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class MergeActivations(ir.passes.InPlacePass):
    """Replace `Clip(Clip(x, a, b), c, d)` by `Clip(x, min(max(a, c), d), min(max(b, c), d))`.

    Relu(x) counts as Clip(x, 0, inf), Max(x, c) as Clip(x, c, inf) and Min(x, c) as
    Clip(x, -inf, c). The answer is a Relu where it is one; an outer node that cuts nothing
    is left out. A bound at the largest float32 is none, as ONNX has it for an absent one.

    Kept: a chain whose inner node has a second user or is a graph output, unless the outer
    one cuts nothing; bounds that are computed, an input, more than one number, or cross;
    Min and Max that broadcast, and those of integers; a chain into a branch.

    Example:
        before:
            g (float[4] x) => (float[4] y)
            <float low = {-1.0}, float zero = {0.0}, float six = {6.0}>
            { a = Clip (x, low, six)  b = Relu (a)  y = Neg (b) }
        after:
            g (float[4] x) => (float[4] y) <float zero = {0.0}, float six = {6.0}>
            { b = Clip (x, zero, six)  y = Neg (b) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any activation was merged or rewritten."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            clamp = find_clamp(node)
            if clamp is None:
                continue
            if cuts_nothing(node, clamp):
                node.outputs[0].replace_all_uses_with(clamp.x)
                remove_unread([node])
                modified = True
                continue
            inner = inner_clamp(node, clamp)
            if inner is None and node.op_type == operator(clamp):
                continue
            before = clamp.x.producer()
            rewrite(node, clamp if inner is None else inner.then(clamp), names)
            if inner is not None and before is not None:
                remove_unread([before])
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Clamp:
    """An activation `min(max(x, low), high)`."""

    x: ir.Value
    low: float
    high: float

    def then(self, outer: Clamp) -> Clamp:
        """Return this one followed by another."""
        low, high = (min(max(end, outer.low), outer.high) for end in (self.low, self.high))
        return Clamp(self.x, low, high)


def find_clamp(node: ir.Node) -> Clamp | None:
    """Return what an activation of floats does, if its bounds are constant and in order."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _READERS:
        return None
    clamp = _READERS[node.op_type](node)
    if clamp is None or not clamp.low <= clamp.high:
        return None
    low = -math.inf if clamp.low <= -LARGEST else clamp.low
    high = math.inf if clamp.high >= LARGEST else clamp.high
    return Clamp(clamp.x, low, high)


def _read_relu(node: ir.Node) -> Clamp | None:
    x = node.inputs[0]
    return None if x is None else Clamp(x, 0.0, math.inf)


def _read_clip(node: ir.Node) -> Clamp | None:
    x, low, high = (*node.inputs, None, None)[:3]
    bounds = [
        default if value is None else _number(value)
        for value, default in ((low, -math.inf), (high, math.inf))
    ]
    if x is None or bounds[0] is None or bounds[1] is None:
        return None
    return Clamp(x, bounds[0], bounds[1])


def _read_extremum(node: ir.Node) -> Clamp | None:
    if len(node.inputs) != 2:
        return None
    for x, bound in (node.inputs, node.inputs[::-1]):
        number = _number(bound)
        if x is None or bound is None or number is None or constant(x) is not None:
            continue
        if bound.shape is None or x.shape is None or len(bound.shape) > len(x.shape):
            return None
        low, high = (number, math.inf) if node.op_type == "Max" else (-math.inf, number)
        return Clamp(x, low, high)
    return None


_READERS = {
    "Relu": _read_relu,
    "Clip": _read_clip,
    "Max": _read_extremum,
    "Min": _read_extremum,
}


def _number(value: ir.Value | None) -> float | None:
    """Return a constant float32 of one element."""
    array = constant(value)
    if array is None or array.size != 1 or array.dtype != np.float32:
        return None
    return float(array.reshape(()))


def cuts_nothing(node: ir.Node, clamp: Clamp) -> bool:
    """Whether what the node reads lies within its bounds, so that it can be left out."""
    producer = clamp.x.producer()
    inner = find_clamp(producer) if producer is not None else None
    low, high = (-math.inf, math.inf) if inner is None else (inner.low, inner.high)
    return clamp.low <= low and high <= clamp.high and not node.outputs[0].is_graph_output()


def inner_clamp(node: ir.Node, clamp: Clamp) -> Clamp | None:
    """Return the clamp before this one, if no other node needs it."""
    producer = clamp.x.producer()
    if producer is None or producer.graph is not node.graph or sole_user(clamp.x) is not node:
        return None
    return find_clamp(producer)


def operator(clamp: Clamp) -> str:
    """Return the operator that a clamp is written with."""
    return "Relu" if (clamp.low, clamp.high) == (0.0, math.inf) else "Clip"


def rewrite(node: ir.Node, clamp: Clamp, names: Names) -> None:
    """Make the node compute the clamp."""
    assert isinstance(node.graph, ir.Graph)
    inputs: list[ir.Value | None] = [clamp.x]
    node.op_type = operator(clamp)
    if node.op_type == "Clip":
        for side, bound in (("min", clamp.low), ("max", clamp.high)):
            array = np.asarray(bound, np.float32)
            inputs.append(
                names.initializer(node.graph, f"{clamp.x.name}_{side}", array)
                if math.isfinite(bound)
                else None
            )
    while inputs[-1] is None:
        inputs.pop()
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
