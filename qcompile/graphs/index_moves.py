"""Which elements a mover moves where: the move of an array of their numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.regions import constant

Indices = npt.NDArray[np.int64]

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
MOVERS = RESHAPES | {"Transpose", "Slice"}
"""Operators that move the elements of their first input, each at most once."""


def moved(array: Indices, node: ir.Node) -> Indices | None:
    """Return the array as the node moves it; None where that is not known."""
    y = node.outputs[0]
    if node.domain not in ("", "ai.onnx") or node.op_type not in MOVERS:
        return None
    if node.op_type in RESHAPES:
        if y.shape is None or not y.shape.is_static():
            return None
        shape = y.shape.numpy()
        return array.reshape(shape) if array.size == np.prod(shape, dtype=int) else None
    if node.op_type == "Transpose":
        default = tuple(reversed(range(array.ndim)))
        return array.transpose(node.attributes.get_ints("perm", default))
    return _sliced(array, node)


def _sliced(array: Indices, node: ir.Node) -> Indices | None:
    parameters = [constant(value) for value in node.inputs[1:]]
    if any(each is None for each in parameters):
        return None
    starts, ends, *rest = ([int(n) for n in each] for each in parameters if each is not None)
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = array.shape[axis]
        high = size if step > 0 else size - 1
        begin = min(max(start + size if start < 0 else start, 0), high)
        stop = min(max(end + size if end < 0 else end, 0 if step > 0 else -1), high)
        array = np.take(array, np.arange(begin, stop, step), axis=axis)
    return array
