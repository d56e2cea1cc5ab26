"""Find GroupNormalization in a reshaped InstanceNormalization."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.formulas import enclosed, producer
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant, sole_user


@dataclasses.dataclass(frozen=True)
class FuseGroupNorm(ir.passes.InPlacePass):
    """Replace `Reshape(InstanceNormalization(Reshape(x)))` by `GroupNormalization(x)`.

    x [N, C, ...] is reshaped to [N, G, ...] and back. The gain and shift of a group become
    those of each of its channels; what follows with constants a channel is folded into them
    by FoldChannelAffine.

    Kept: gains that are computed; another shape in between or at the end; an inner value
    that something else reads or that is a graph output.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            found = find_groups(node)
            if found is None or not enclosed(node, (found.norm, found.split)):
                continue
            build = Builder(names, node)
            gain, shift = (
                build.constant(np.repeat(array, found.channels // found.groups), role)
                for array, role in ((found.gain, "gain"), (found.shift, "shift"))
            )
            epsilon = found.norm.attributes.get_float("epsilon", 1e-5)
            y = build.op(
                "GroupNormalization",
                [found.split.inputs[0], gain, shift],
                {"num_groups": found.groups, "epsilon": epsilon},
                shape=node.outputs[0].shape,
            )
            build.replace(y, others=(found.norm, found.split))
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Groups:
    """A normalization of groups of channels, between two Reshapes.

    Attributes:
        split: The Reshape to [N, groups, ...].
        norm: The InstanceNormalization.
        groups: How many groups there are.
        channels: How many channels there are.
        gain: One number a group.
        shift: One number a group.
    """

    split: ir.Node
    norm: ir.Node
    groups: int
    channels: int
    gain: np.ndarray
    shift: np.ndarray


def find_groups(node: ir.Node) -> Groups | None:
    """Return the normalization that ends at this Reshape."""
    if node.op_type != "Reshape" or node.domain not in ("", "ai.onnx"):
        return None
    norm = producer(node.inputs[0], "InstanceNormalization")
    split = producer(norm.inputs[0], "Reshape") if norm is not None else None
    x = split.inputs[0] if split is not None else None
    if norm is None or split is None or x is None or sole_user(norm.outputs[0]) is not node:
        return None
    shapes = [value.shape for value in (x, split.outputs[0], node.outputs[0])]
    if any(shape is None or not shape.is_static() or len(shape) < 3 for shape in shapes):
        return None
    outer, inner, after = (shape.numpy() if shape is not None else () for shape in shapes)
    gain, shift = constant(norm.inputs[1]), constant(norm.inputs[2])
    if outer != after or outer[0] != inner[0] or outer[1] % inner[1]:
        return None
    if gain is None or shift is None:
        return None
    return Groups(split, norm, inner[1], outer[1], gain, shift)
