"""Fold a convolution that only scales and shifts each channel into the one after it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.linear import Floats, bias_of, store
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant, sole_user


@dataclasses.dataclass(frozen=True)
class FoldScalingConv(ir.passes.InPlacePass):
    """Replace `Conv(f * x + s, W, b)` by `Conv(x, W', b')`.

    W'[o, c] = W[o, c] * f[c]        b'[o] = b[o] + sum of W[o, c] * s[c]

    where f * x + s is the 1x1 depthwise Conv that FoldBatchNorm makes of a normalization
    before a convolution. Computed in float64 and rounded once.

    Kept: a shift before a padded convolution, since the padding is not shifted; constants
    that are computed; a second user, a graph output, the border of a branch; what would
    leave float32.

    Example:
        before:
            g (float[1,2,3,3] x) => (float[1,1,3,3] y)
            <float[2,1,1,1] f = {2.0, 3.0}, float[2] s = {0.5, 1.0},
             float[1,2,1,1] w = {4.0, 5.0}, float[1] b = {1.0}>
            { a = Conv <group = 2> (x, f, s)  y = Conv (a, w, b) }
        after:
            g (float[1,2,3,3] x) => (float[1,1,3,3] y)
            <float[1,2,1,1] w = {8.0, 15.0}, float[1] b = {8.0}>
            { y = Conv (x, w, b) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any convolution was folded."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            scaling = find_scaling(node)
            user = sole_user(node.outputs[0]) if scaling is not None else None
            if scaling is None or user is None or not fold(user, node, scaling, names):
                continue
            user.replace_input_with(0, node.inputs[0])
            assert node.graph is not None
            node.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """`factor * x + shift`, one of each a channel."""

    factor: Floats
    shift: Floats


def find_scaling(node: ir.Node) -> Scaling | None:
    """Return what a 1x1 depthwise Conv of step 1 does."""
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
        return None
    weight, bias = constant(node.inputs[1]), bias_of(node)
    shift = constant(bias)
    if weight is None or weight.dtype != np.float32 or (bias is not None and shift is None):
        return None
    channels = len(weight)
    if weight.size != channels or node.attributes.get_int("group", 1) != channels:
        return None
    attributes = node.attributes
    if any(attributes.get_ints("pads", [0])) or set(attributes.get_ints("strides", [1])) != {
        1
    }:
        return None
    if attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    zeros = np.zeros(channels)
    return Scaling(
        weight.reshape(-1).astype(np.float64),
        zeros if shift is None else shift.astype(np.float64),
    )


def fold(user: ir.Node, node: ir.Node, scaling: Scaling, names: Names) -> bool:
    """Give the Conv after it the weight and the bias that do its work."""
    if user.op_type != "Conv" or user.graph is not node.graph:
        return False
    if user.inputs[0] is not node.outputs[0] or user.domain not in ("", "ai.onnx"):
        return False
    weight, bias = constant(user.inputs[1]), bias_of(user)
    offset = constant(bias)
    if weight is None or weight.dtype != np.float32 or (bias is not None and offset is None):
        return False
    padded = any(user.attributes.get_ints("pads", [0]))
    auto = user.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if scaling.shift.any() and (padded or auto):
        return False
    group = user.attributes.get_int("group", 1)
    parts = weight.astype(np.float64).reshape(group, -1, *weight.shape[1:])
    tail = (1,) * (weight.ndim - 2)
    factor, shift = (
        each.reshape(group, 1, weight.shape[1], *tail)
        for each in (scaling.factor, scaling.shift)
    )
    scaled = (parts * factor).reshape(weight.shape)
    changes = [(user, 1, scaled)]
    if scaling.shift.any():
        moved = (parts * shift).reshape(len(weight), -1).sum(axis=1)
        changes.append((user, 2, moved if offset is None else moved + offset))
    return store(changes, names)
