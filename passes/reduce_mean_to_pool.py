"""Write a mean over the whole of an image as GlobalAveragePool."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant


@dataclasses.dataclass(frozen=True)
class ReduceMeanToPool(ir.passes.InPlacePass):
    """Replace `ReduceMean(x, axes = [2, 3])` of a rank-4 x by `GlobalAveragePool(x)`.

    Without keepdims a Reshape drops the two axes.

    Kept: other axes or another rank; an image or a result whose size is not known.

    Example:
        before:
            g (float[1,2,3,4] x) => (float[1,2] y) <int64[2] axes = {-1, -2}>
            { y = ReduceMean <keepdims = 0> (x, axes) }
        after:
            g (float[1,2,3,4] x) => (float[1,2] y) <int64[2] shape = {1, 2}>
            { p = GlobalAveragePool (x)  y = Reshape (p, shape) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any mean was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            shape = image_of_mean(node)
            x, result = (node.inputs[0], node.outputs[0].shape) if shape else (None, None)
            if x is None or shape is None or result is None or not result.is_static():
                continue
            build = Builder(names, node)
            y = build.op("GlobalAveragePool", [x], shape=[*shape[:2], 1, 1])
            if not node.attributes.get_int("keepdims", 1):
                y = build.reshape(y, result.numpy())
            build.replace(y)
            modified = True
        return ir.passes.PassResult(model, modified)


def image_of_mean(node: ir.Node) -> tuple[int, ...] | None:
    """Return the shape of the image that a ReduceMean averages whole, if it does."""
    if node.op_type != "ReduceMean" or node.domain not in ("", "ai.onnx"):
        return None
    x = node.inputs[0]
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or x.shape is None or not x.shape.is_static() or axes is None:
        return None
    if len(x.shape) != 4 or sorted(int(axis) % 4 for axis in axes.reshape(-1)) != [2, 3]:
        return None
    return x.shape.numpy() if x.dtype == ir.DataType.FLOAT else None
