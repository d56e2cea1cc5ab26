"""Which axes a ReduceSum, ReduceMean, ReduceMax or ReduceMin takes together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.regions import constant


def reduced_axes(
    node: ir.Node, given: npt.NDArray[np.generic] | None, rank: int
) -> tuple[int, ...]:
    """Return the axes in rising order, none negative.

    Args:
        node: The node; its axes may be an attribute, as before opset 18 (13 for a sum).
        given: Its second input, if it has one.
        rank: Of its first input.

    Raises:
        ValueError: An axis is not one of the tensor's.
    """
    axes = node.attributes.get_ints("axes", ()) if given is None else given.reshape(-1)
    numbers = [int(axis) for axis in axes]
    if not numbers:
        nothing = bool(node.attributes.get_int("noop_with_empty_axes", 0))
        return () if nothing else tuple(range(rank))
    if any(not -rank <= axis < rank for axis in numbers):
        raise ValueError(f"axes {numbers} of a tensor of rank {rank}")
    return tuple(sorted({axis % rank for axis in numbers}))


def constant_axes(node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes, or None where they or the rank are not known before it runs."""
    x = node.inputs[0]
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant(given)
    if x is None or x.shape is None or (given is not None and axes is None):
        return None
    try:
        return reduced_axes(node, axes, len(x.shape))
    except ValueError:
        return None
