"""Write DepthToSpace and SpaceToDepth as Reshape, Transpose and Reshape."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names


@dataclasses.dataclass(frozen=True)
class LowerDepthToSpace(ir.passes.InPlacePass):
    """Replace DepthToSpace by Reshape, Transpose, Reshape; SpaceToDepth the other way round.

    DCR    [N, b, b, C, H, W]  ->  [N, C, H, b, W, b]     perm 0 3 4 1 5 2
    CRD    [N, C, b, b, H, W]  ->  [N, C, H, b, W, b]     perm 0 1 4 2 5 3
    SpaceToDepth    [N, C, H, b, W, b]  ->  [N, b, b, C, H, W]     perm 0 3 5 1 2 4

    Kept: an image whose size is not known.

    Example:
        before:
            g (float[1,4,2,3] x) => (float[1,1,4,6] y) { y = DepthToSpace <blocksize = 2> (x) }
        after:
            g (float[1,4,2,3] x) => (float[1,1,4,6] y)
            <int64[6] p = {1, 2, 2, 1, 2, 3}, int64[4] q = {1, 1, 4, 6}>
            { s = Reshape (x, p)  t = Transpose <perm = [0, 3, 4, 1, 5, 2]> (s)
              y = Reshape (t, q) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any node was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type not in ("DepthToSpace", "SpaceToDepth") or node.domain:
                continue
            x, y = node.inputs[0], node.outputs[0]
            if x is None or x.shape is None or y.shape is None:
                continue
            if not (x.shape.is_static() and y.shape.is_static()):
                continue
            build = Builder(names, node)
            build.replace(build.rearrange(x, *plan(node, x.shape.numpy()), y.shape.numpy()))
            modified = True
        return ir.passes.PassResult(model, modified)


def plan(node: ir.Node, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the shape with the blocks as axes of their own, and their order after."""
    n, c, h, w = shape
    b = node.attributes["blocksize"].as_int()
    if node.op_type == "SpaceToDepth":
        return [n, c, h // b, b, w // b, b], [0, 3, 5, 1, 2, 4]
    if node.attributes.get_string("mode", "DCR") == "CRD":
        return [n, c // (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3]
    return [n, b, b, c // (b * b), h, w], [0, 3, 4, 1, 5, 2]
