"""Give a Resize of some axes a size or scale for every axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.rewriting import Names
from qcompile.regions import constant

Array = npt.NDArray[np.generic]


@dataclasses.dataclass(frozen=True)
class WidenResize(ir.passes.InPlacePass):
    """Replace `Resize(x, roi, scales, sizes)` of `axes` by the same over all axes.

    scales' = 1 elsewhere     sizes' = the sizes of x elsewhere     roi' = 0 to 1 elsewhere

    Kept: sizes under a keep_aspect_ratio_policy, which asks the axes it has; parameters that
    are computed; an x of unknown shape.

    Example:
        before:
            g (float[1,2,3,4] x) => (float[1,2,6,4] y)
            <int64[1] six = {6}>
            { y = Resize <axes = [2]> (x, , , six) }
        after:
            g (float[1,2,3,4] x) => (float[1,2,6,4] y)
            <int64[4] sizes = {1, 2, 6, 4}>
            { y = Resize(x, , , sizes) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Resize changed."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.op_type == "Resize" and node.domain in ("", "ai.onnx"):
                modified |= _widen(node, names)
        return ir.passes.PassResult(model, modified)


def _widen(node: ir.Node, names: Names) -> bool:
    axes, x = node.attributes.get("axes"), node.inputs[0]
    if axes is None or x is None or x.shape is None or not x.shape.is_static():
        return False
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    shape = [int(size) for size in x.shape.numpy()]
    places = [axis % len(shape) for axis in axes.as_ints()]
    ends = [0.0] * len(shape) + [1.0] * len(shape)
    whole: tuple[list[float] | list[int], ...] = (ends, [1.0] * len(shape), shape)
    told = [*node.inputs[1:], None, None, None][:3]
    arrays = [constant(value) for value in told]
    if any(v is not None and a is None for v, a in zip(told, arrays, strict=True)):
        return False
    assert node.graph is not None
    for index, (array, default) in enumerate(zip(arrays, whole, strict=True), start=1):
        if array is not None and array.size:
            wide = _spread(array.reshape(-1), default, places)
            name = f"{node.name or node.outputs[0].name}_{index}"
            graph = node.graph
            assert isinstance(graph, ir.Graph)
            node.replace_input_with(index, names.initializer(graph, name, wide))
    del node.attributes["axes"]
    return True


def _spread(array: Array, default: Sequence[float], places: Sequence[int]) -> Array:
    """Return the default with the array's numbers in their places; a roi has two runs."""
    wide = np.array(default, array.dtype)
    runs = len(array) // len(places)
    rank = len(default) // runs
    for run in range(runs):
        for at, place in enumerate(places):
            wide[run * rank + place] = array[run * len(places) + at]
    return wide
