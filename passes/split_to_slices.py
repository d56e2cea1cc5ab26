"""Write a Split as one Slice an output."""

from __future__ import annotations

import dataclasses
from itertools import accumulate

import onnx_ir as ir

from qcompile.graphs.building import Builder
from qcompile.graphs.rewriting import Names, new_type, take_over


@dataclasses.dataclass(frozen=True)
class SplitToSlices(ir.passes.InPlacePass):
    """Replace `a, b = Split(x)` by `a = Slice(x, 0, n)` and `b = Slice(x, n, n + m)`.

    An output that nothing reads gets none.

    Kept: a Split whose parts have no known size.

    Example:
        before:
            g (float[2,4] x) => (float[2,2] y, float[2,2] z)
            { y, z = Split <axis = 1, num_outputs = 2> (x) }
        after:
            g (float[2,4] x) => (float[2,2] y, float[2,2] z)
            <int64[1] n0 = {0}, int64[1] n2 = {2}, int64[1] n4 = {4}, int64[1] axis = {1}>
            { y = Slice (x, n0, n2, axis)  z = Slice (x, n2, n4, axis) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Split was replaced."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            sizes = part_sizes(node)
            if sizes is not None:
                split(Builder(names, node), sizes)
                modified = True
        return ir.passes.PassResult(model, modified)


def part_sizes(node: ir.Node) -> list[int] | None:
    """Return the sizes of a Split's parts along its axis, if they are known."""
    x = node.inputs[0] if node.inputs else None
    if node.op_type != "Split" or node.domain not in ("", "ai.onnx") or x is None:
        return None
    axis = node.attributes.get_int("axis", 0)
    shapes = [value.shape for value in node.outputs]
    sizes = [shape[axis] for shape in shapes if shape is not None]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(node.outputs) else None


def split(build: Builder, sizes: list[int]) -> None:
    """Put the Slices in the Split's place."""
    node = build.old
    axis = node.attributes.get_int("axis", 0)
    ends = list(accumulate(sizes))
    axes = build.integers([axis], "axis")
    for index, (old, size, end) in enumerate(zip(node.outputs, sizes, ends, strict=True)):
        if not old.uses() and not old.is_graph_output():
            continue
        bounds = [
            build.integers([end - size], f"start_{index}"),
            build.integers([end], f"end_{index}"),
        ]
        y = build.op("Slice", [node.inputs[0], *bounds, axes], shape=old.shape)
        y.type = new_type(old)
        take_over(old, y)
    build.graph.remove(node, safe=True)
