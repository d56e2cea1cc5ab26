"""Operators that choose elements axis by axis: y[i, j, ...] = x[a[i], b[j], ...]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.resize_map import nearest_indices, resized_axes

Array = npt.NDArray[np.generic]
Inputs = Sequence[Array | None]
Indices = npt.NDArray[np.int64]
PAD_MODES = ("edge", "reflect", "wrap")


def index_maps(
    node: ir.Node, shape: Sequence[int], inputs: Inputs
) -> tuple[Indices, ...] | None:
    """Return the index in x of every index of y along each axis of x.

    Args:
        node: A nearest Resize, or a Pad whose mode is no constant; for any other None.
        shape: Of x.
        inputs: The node's inputs; x is not looked at.
    """
    found = MAPS.get(node.op_type)
    return found(node, shape, inputs) if found is not None else None


def pad_widths(rank: int, inputs: Inputs) -> list[tuple[int, int]]:
    """Return what a Pad puts before and behind each axis; less than nothing crops."""
    pads, axes = _numbers(inputs, 1), _numbers(inputs, 3)
    assert pads is not None
    widths = [(0, 0)] * rank
    for at, axis in enumerate(range(rank) if axes is None else axes):
        widths[axis % rank] = (pads[at], pads[at + len(pads) // 2])
    return widths


def _resize(node: ir.Node, shape: Sequence[int], inputs: Inputs) -> tuple[Indices, ...] | None:
    if node.attributes.get_string("mode", "nearest") != "nearest":
        return None
    axes = resized_axes(node, shape, *[*inputs[1:], None, None, None][:3])
    maps = nearest_indices(node, axes)
    return None if maps is None else tuple(each.astype(np.int64) for each in maps)


def _pad(node: ir.Node, shape: Sequence[int], inputs: Inputs) -> tuple[Indices, ...] | None:
    mode = node.attributes.get_string("mode", "constant")
    if mode not in PAD_MODES:
        return None
    maps = []
    for size, (before, after) in zip(shape, pad_widths(len(shape), inputs), strict=True):
        kept = np.arange(size)[max(0, -before) : size + min(0, after)]
        widths = (max(0, before), max(0, after))
        maps.append(np.pad(kept, widths, mode=mode) if any(widths) else kept)  # type: ignore[call-overload]
    return tuple(maps)


def _numbers(inputs: Inputs, index: int) -> list[int] | None:
    array = inputs[index] if index < len(inputs) else None
    return None if array is None else [int(each) for each in array.reshape(-1)]


Maps = Callable[[ir.Node, Sequence[int], Inputs], "tuple[Indices, ...] | None"]
MAPS: dict[str, Maps] = {"Resize": _resize, "Pad": _pad}
"""Operator -> its indices along each axis."""
