"""Standard operators that move numbers without computing, and the two at the borders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.index_maps import index_maps, pad_widths
from qcompile.numerics import dequantize, quantize
from qcompile.oracle import reductions
from qcompile.oracle.windows import Windows
from qcompile.quant import INTEGER_RANGES

Array = npt.NDArray[np.generic]
Inputs = Sequence[Array | None]
Mover = Callable[[ir.Node, Inputs], Array | None]
"""Gives the answer, or None for a form that onnxruntime should run instead."""


def quantize_linear(node: ir.Node, inputs: Inputs) -> Array | None:
    """float32 to 8 bits, per tensor or per axis."""
    x, scale, zero_point = _input(inputs, 0), _input(inputs, 1), _optional(inputs, 2)
    dtype = ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
    if zero_point is not None:
        dtype = ir.DataType.from_numpy(zero_point.dtype)
    plain = dtype in (ir.DataType.UINT8, ir.DataType.INT8) and _plain_qdq(node, scale)
    if not plain or x.dtype != np.float32:
        return None
    axis = node.attributes.get_int("axis", 1)
    zero = np.zeros_like(scale, dtype.numpy()) if zero_point is None else zero_point
    steps = _along(scale, axis, x).astype(np.float32)
    return quantize(x.astype(np.float32), steps, _along(zero, axis, x), dtype)


def dequantize_linear(node: ir.Node, inputs: Inputs) -> Array | None:
    """8 bits (or an int32 bias) to float32, per tensor or per axis."""
    x, scale, zero_point = _input(inputs, 0), _input(inputs, 1), _optional(inputs, 2)
    if x.dtype not in (np.uint8, np.int8, np.int32) or not _plain_qdq(node, scale):
        return None
    axis = node.attributes.get_int("axis", 1)
    zero = np.zeros_like(scale, x.dtype) if zero_point is None else zero_point
    return dequantize(x, _along(scale, axis, x).astype(np.float32), _along(zero, axis, x))


def max_pool(node: ir.Node, inputs: Inputs) -> Array | None:
    """The largest of each window; padding never wins."""
    x = _input(inputs, 0)
    automatic = node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    if len(node.outputs) > 1 or automatic or x.dtype not in (np.uint8, np.int8):
        return None
    windows = Windows.of(node, node.attributes["kernel_shape"].as_ints())
    counts = windows.counts(x.shape[2:], ceil=bool(node.attributes.get_int("ceil_mode", 0)))
    lowest = INTEGER_RANGES[ir.DataType.from_numpy(x.dtype)][0]
    y = np.full((*x.shape[:2], *counts), lowest, x.dtype)
    for _, part in windows.taps(x, lowest, counts):
        y = np.maximum(y, part)
    return y


def concat(node: ir.Node, inputs: Inputs) -> Array:
    """Put tensors one behind the other."""
    arrays = [array for array in inputs if array is not None]
    return np.concatenate(arrays, axis=node.attributes["axis"].as_int())


def reshape(node: ir.Node, inputs: Inputs) -> Array:
    """Reshape; 0 keeps a size (unless allowzero), -1 takes what is left."""
    x, shape = _input(inputs, 0), _int_list(inputs, 1)
    if not node.attributes.get_int("allowzero", 0):
        shape = [size or x.shape[axis] for axis, size in enumerate(shape)]
    return x.reshape(shape)


def flatten(node: ir.Node, inputs: Inputs) -> Array:
    """Reshape to a matrix."""
    x = _input(inputs, 0)
    axis = node.attributes.get_int("axis", 1)
    rows = math.prod(x.shape[: axis + x.ndim if axis < 0 else axis])
    return x.reshape(rows, x.size // rows if rows else 0)


def transpose(node: ir.Node, inputs: Inputs) -> Array:
    """Permute the axes; without `perm` reverse them."""
    return np.transpose(_input(inputs, 0), node.attributes.get_ints("perm", None))


def squeeze(node: ir.Node, inputs: Inputs) -> Array:
    """Drop axes of size 1: those given, or all."""
    x = _input(inputs, 0)
    return np.squeeze(
        x, tuple(_int_list(inputs, 1)) if _optional(inputs, 1) is not None else None
    )


def unsqueeze(node: ir.Node, inputs: Inputs) -> Array:
    """Insert axes of size 1."""
    return np.expand_dims(_input(inputs, 0), tuple(_int_list(inputs, 1)))


def slice_(node: ir.Node, inputs: Inputs) -> Array:
    """Cut a range, with steps and from the back if asked."""
    x, starts, ends = _input(inputs, 0), _int_list(inputs, 1), _int_list(inputs, 2)
    axes = _int_list(inputs, 3) if _optional(inputs, 3) is not None else range(len(starts))
    steps = _int_list(inputs, 4) if _optional(inputs, 4) is not None else [1] * len(starts)
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        # A start before the first element is the first; Python's slices differ backwards.
        cut[axis] = slice(max(start, -size), end, step)
    return x[tuple(cut)]


def pad(node: ir.Node, inputs: Inputs) -> Array | None:
    """Pad, or where the pads are negative crop; with a constant or with what is there."""
    x, value = _input(inputs, 0), _optional(inputs, 2)
    if node.attributes.get_string("mode", "constant") != "constant":
        return chosen(node, inputs)
    widths = pad_widths(x.ndim, inputs)
    kept = [slice(max(0, -before), min(0, after) or None) for before, after in widths]
    around = [(max(0, before), max(0, after)) for before, after in widths]
    filler = 0 if value is None else value.reshape(())
    return np.pad(x[tuple(kept)], around, constant_values=filler)


def chosen(node: ir.Node, inputs: Inputs) -> Array | None:
    """A nearest Resize, or a Pad with what is there: an index along every axis."""
    x = _input(inputs, 0)
    maps = index_maps(node, x.shape, inputs)
    return None if maps is None else np.asarray(x[np.ix_(*maps)])


def gather(node: ir.Node, inputs: Inputs) -> Array:
    """Take slices along an axis; an index beyond the table is the last one on its side."""
    x, indices = _input(inputs, 0), _input(inputs, 1).astype(np.int64)
    axis = node.attributes.get_int("axis", 0)
    size = x.shape[axis]
    indices = np.clip(np.where(indices < 0, indices + size, indices), 0, size - 1)
    return np.take(x, indices, axis)


def expand(node: ir.Node, inputs: Inputs) -> Array:
    """Repeat along axes of size 1, by NumPy's rule; both shapes may broadcast."""
    x = _input(inputs, 0)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_int_list(inputs, 1))))


def tile(node: ir.Node, inputs: Inputs) -> Array:
    """Repeat the whole along each axis."""
    return np.tile(_input(inputs, 0), _int_list(inputs, 1))


def where(node: ir.Node, inputs: Inputs) -> Array:
    """Take each number from the one or the other tensor, as a condition says."""
    return np.where(*(_input(inputs, index) for index in range(3)))


def identity(node: ir.Node, inputs: Inputs) -> Array:
    """Give back the input."""
    return _input(inputs, 0)


def _plain_qdq(node: ir.Node, scale: Array) -> bool:
    """Whether it is float32, per tensor or per axis; blocked and others are not."""
    blocked = node.attributes.get_int("block_size", 0) != 0
    return scale.dtype == np.float32 and scale.ndim <= 1 and not blocked


def _along(parameter: Array, axis: int, x: Array) -> Array:
    """Shape a per-axis parameter so that it broadcasts against x."""
    shape = [-1 if at == axis % x.ndim else 1 for at in range(x.ndim)]
    return parameter.reshape(() if parameter.size == 1 else shape)


def _optional(inputs: Inputs, index: int) -> Array | None:
    return inputs[index] if index < len(inputs) else None


def _input(inputs: Inputs, index: int) -> Array:
    array = inputs[index]
    assert array is not None, f"input {index} is required by ONNX"
    return array


def _int_list(inputs: Inputs, index: int) -> list[int]:
    return [int(each) for each in _input(inputs, index).reshape(-1)]


MOVERS: dict[str, Mover] = {
    "Concat": concat,
    "DequantizeLinear": dequantize_linear,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Identity": identity,
    "MaxPool": max_pool,
    "Pad": pad,
    "QuantizeLinear": quantize_linear,
    "ReduceMax": reductions.reduce_max,
    "ReduceMin": reductions.reduce_min,
    "Reshape": reshape,
    "Resize": chosen,
    "Slice": slice_,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": where,
}
"""Operator -> its function of (node, input arrays)."""
