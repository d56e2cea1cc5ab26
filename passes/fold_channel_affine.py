"""Fold a constant factor or summand a channel into the weights of the node before it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.linear import Floats, Linear, find_linear
from qcompile.graphs.rewriting import Names, take_over
from qcompile.regions import constant, sole_user

OPERATORS = frozenset({"Mul", "Div", "Add", "Sub"})


@dataclasses.dataclass(frozen=True)
class FoldChannelAffine(ir.passes.InPlacePass):
    """Replace `Conv(x, W, b) * c` by `Conv(x, c W, c b)`, and `+ c` by a bias `b + c`.

    c is one number, or one an output channel. The same for Div and Sub, after ConvTranspose,
    Gemm, MatMul, and after a LayerNormalization, GroupNormalization or InstanceNormalization,
    which have a gain and a shift. A MatMul of higher rank keeps the Add that is its bias,
    with another constant. Computed in float64 and rounded once.

    Kept: a constant less or over the value; constants along another axis, or that add axes;
    a computed weight or bias, also one behind a DequantizeLinear; a producer with a second
    user, that is a graph output or stands outside the branch; what would leave float32.

    Example:
        before:
            g (float[1,1,2,2] x) => (float[1,2,2,2] y)
            <float[2,1,1,1] w = {1.0, 2.0}, float c = {3.0}, float[2,1,1] d = {0.5, 0.25}>
            { a = Conv (x, w)  m = Mul (c, a)  y = Add (m, d) }
        after:
            g (float[1,1,2,2] x) => (float[1,2,2,2] y)
            <float[2,1,1,1] w = {3.0, 6.0}, float[2] b = {0.5, 0.25}>
            { y = Conv (x, w, b) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any constant was folded."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            found = find_affine(node)
            if found is None:
                continue
            change = found.linear.shift if found.shifts else found.linear.scale
            if not change(found.numbers, names):
                continue
            assert node.graph is not None
            take_over(node.outputs[0], found.value)
            node.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Affine:
    """A node that scales or shifts the channels of a linear node.

    Attributes:
        value: What the node reads of it.
        linear: The linear node.
        shifts: Whether the numbers are added; else they are factors.
        numbers: One a channel.
    """

    value: ir.Value
    linear: Linear
    shifts: bool
    numbers: Floats


def find_affine(node: ir.Node) -> Affine | None:
    """Return what a node does to the channels of the linear node before it."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        return None
    left, right = node.inputs
    behind = constant(right) is not None
    value, c = (left, right) if behind else (right, left)
    if value is None or constant(c) is None or sole_user(value) is not node:
        return None
    linear = find_linear(value)
    numbers = linear.numbers(constant(c)) if linear is not None else None
    if linear is None or numbers is None or linear.node.graph is not node.graph:
        return None
    shifts = node.op_type in ("Add", "Sub")
    if (node.op_type in ("Div", "Sub") and not behind) or (shifts and not linear.takes_shift):
        return None
    if node.op_type == "Div":
        with np.errstate(divide="ignore"):
            numbers = 1.0 / numbers
    if node.op_type == "Sub":
        numbers = -numbers
    return Affine(value, linear, shifts, numbers)
