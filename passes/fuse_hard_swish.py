"""Find HardSwish and HardSigmoid in what exporters wrote out with Clip."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.formulas import (
    close,
    enclosed,
    peel,
    polynomial,
    product,
    readers_first,
    scalar_step,
)
from qcompile.graphs.rewriting import Names
from qcompile.regions import activation_bounds, sole_user


@dataclasses.dataclass(frozen=True)
class FuseHardSwish(ir.passes.InPlacePass):
    """Replace `x * Clip(x + 3, 0, 6) / 6` by `HardSwish(x)`, and its gate by HardSigmoid.

    k * x * Clip(a * x + b, 0, c) = HardSwish(x)           k c = 1, k a = 1/6, k b = 1/2
    x * HardSigmoid(x) = HardSwish(x)                      alpha = 1/6, beta = 1/2
    k * Clip(a * x + b, 0, c) = HardSigmoid(x)             alpha = k a, beta = k b, k c = 1

    in every order of factors and steps.

    Kept: what has an inner value that something else reads or that is a graph output; bounds
    that are not constant.

    Example:
        before:
            g (float[4] x) => (float[4] y)
            <float three = {3.0}, float zero = {0.0}, float six = {6.0}>
            { a = Add (x, three)  c = Clip (a, zero, six)  m = Mul (x, c)  y = Div (m, six) }
        after:
            g (float[4] x) => (float[4] y) { y = HardSwish (x) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was replaced."""
        names = Names(model)
        modified = False
        for find in (hard_swish, hard_sigmoid):
            for node in ir.traversal.RecursiveGraphIterator(model.graph):
                found = find(node) if node.graph is not None else None
                if found is None or not enclosed(node, found.nodes):
                    continue
                build = Builder(names, node)
                shape = node.outputs[0].shape
                y = build.op(found.op_type, [found.x], found.attributes, shape=shape)
                build.replace(y, others=readers_first({*found.nodes} - {node}))
                modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Found:
    """The operator that stands for the nodes."""

    op_type: str
    x: ir.Value
    attributes: dict[str, float]
    nodes: tuple[ir.Node, ...]


@dataclasses.dataclass(frozen=True)
class Gate:
    """`factor * Clip(slope * x + start, 0, top)`."""

    top: float
    slope: float
    start: float
    nodes: tuple[ir.Node, ...]


def hard_swish(node: ir.Node) -> Found | None:
    """Return the HardSwish that ends at this node."""
    whole = product(node)
    if whole is None or len(whole.factors) != 2:
        return None
    for x, gated in (whole.factors, whole.factors[::-1]):
        gate = find_gate(gated, x)
        if gate is None:
            continue
        k = whole.coefficient
        found = (k * gate.top, k * gate.slope, k * gate.start)
        if all(map(close, found, (1, 1 / 6, 0.5))):
            return Found("HardSwish", x, {}, (*whole.nodes, *gate.nodes))
    return None


def find_gate(value: ir.Value, x: ir.Value) -> Gate | None:
    """Return the Clip (or HardSigmoid) of a linear function of x, perhaps scaled."""
    scaled = peel(value, "Clip", "HardSigmoid")
    clip = scaled.core.producer() if scaled is not None else None
    if scaled is None or clip is None or scaled.offset != 0:
        return None
    if clip.op_type == "HardSigmoid":
        if clip.inputs[0] is not x:
            return None
        alpha, beta = hard_sigmoid_parameters(clip)
        k = scaled.factor
        return Gate(k, k * alpha, k * beta, (*scaled.nodes, clip))
    bounds = activation_bounds(clip)
    line = polynomial(clip.inputs[0], x, 1)
    if bounds is None or line is None or bounds[0] != 0 or math.isinf(bounds[1]):
        return None
    start, slope = (*line.coefficients, 0.0)[:2]
    k = scaled.factor
    return Gate(k * bounds[1], k * slope, k * start, (*scaled.nodes, clip, *line.nodes))


def hard_sigmoid_parameters(node: ir.Node) -> tuple[float, float]:
    """Return alpha and beta."""
    attributes = node.attributes
    return attributes.get_float("alpha", 0.2), attributes.get_float("beta", 0.5)


def hard_sigmoid(node: ir.Node) -> Found | None:
    """Return the HardSigmoid that ends at this node: a Clip, or a scalar step after one."""
    if node.op_type not in ("Clip", "Mul", "Div"):
        return None
    scaled = peel(node.outputs[0], "Clip")
    clip = scaled.core.producer() if scaled is not None else None
    bounds = activation_bounds(clip) if clip is not None else None
    if scaled is None or clip is None or bounds is None or scaled.offset != 0:
        return None
    if bounds[0] != 0 or not close(scaled.factor * bounds[1], 1) or len(scaled.nodes) > 1:
        return None
    x = clip.inputs[0]
    assert x is not None
    slope, start = 1.0, 0.0
    nodes: list[ir.Node] = [clip, *scaled.nodes]
    while len(nodes) < 5:
        inner = x.producer()
        step = scalar_step(inner)
        if inner is None or step is None or sole_user(x) is None:
            break
        slope, start, x = slope * step.factor, start + slope * step.offset, step.x
        nodes.append(inner)
    if start == 0.0:
        return None
    k = scaled.factor
    attributes = {"alpha": float(np.float32(k * slope)), "beta": float(np.float32(k * start))}
    return Found("HardSigmoid", x, attributes, tuple(nodes))
