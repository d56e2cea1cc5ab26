"""Convolutions, matrix products, pools and softmax (see `qcompile.ops`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.numerics import fma32
from qcompile.ops import QAVERAGEPOOL, QCONV, QMATMUL, QSOFTMAX
from qcompile.oracle.steps import (
    F64,
    LAST_STEP,
    Array,
    Operator,
    centred,
    f32,
    in_int32,
    last_step,
    present,
)
from qcompile.oracle.windows import Windows


def qconv(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QConv: convolution, bias, requantize, with or without a residual."""
    x, w, bias, multiplier = (present(node, inputs, index) for index in range(4))
    acc = _convolve(node, centred(node, "x", x, np.float64), w.astype(np.float64))
    return _weighted(node, inputs, acc, bias, multiplier, (1, -1, 1, 1))


def qmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QMatMul: x times a constant matrix, bias, requantize, with or without a residual."""
    x, w, bias, multiplier = (present(node, inputs, index) for index in range(4))
    acc = np.matmul(centred(node, "x", x, np.float64), w.astype(np.float64))
    return _weighted(node, inputs, acc, bias, multiplier, (-1,))


def qaveragepool(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QAveragePool: sums over windows; the counts are in the multiplier."""
    x, multiplier = (present(node, inputs, index) for index in range(2))
    windows = Windows.of(node, node.attributes["kernel_shape"].as_ints())
    counts = windows.counts(x.shape[2:])
    acc = np.zeros((*x.shape[:2], *counts), np.int64)
    for _, part in windows.taps(centred(node, "x", x, np.int64), 0, counts):
        acc += part
    return last_step(node, f32(in_int32(node, acc)) * f32(multiplier))


def qsoftmax(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QSoftmax: exponentials from a table of integers, their exact sum, one division."""
    x, table, multiplier = (present(node, inputs, index) for index in range(3))
    axis = node.attributes.get_int("axis", -1)
    steps = x.astype(np.int64)
    e = table.astype(np.int64)[steps.max(axis=axis, keepdims=True) - steps]
    total = in_int32(node, e.sum(axis=axis, keepdims=True))
    return last_step(node, (f32(e) * f32(multiplier)) / f32(total))


def _convolve(node: ir.Node, x: F64, w: F64) -> F64:
    """Sum one matrix product a tap of the kernel; no im2col copy of all taps at once."""
    group = node.attributes.get_int("group", 1)
    batch, channels = x.shape[:2]
    out_channels, depth = w.shape[:2]
    windows = Windows.of(node, w.shape[2:])
    counts = windows.counts(x.shape[2:])
    acc = np.zeros((batch, group, out_channels // group, math.prod(counts)))
    for (i, j), part in windows.taps(x, 0, counts):
        tap = w[:, :, i, j].reshape(group, out_channels // group, depth)
        part = part.reshape(batch, group, channels // group, -1)
        # A depth of 1 is no work for BLAS: broadcasting is faster.
        acc += tap * part if depth == 1 else np.matmul(tap, part)
    return acc.reshape(batch, out_channels, *counts)


def _weighted(
    node: ir.Node,
    inputs: Sequence[Array | None],
    acc: F64,
    bias: Array,
    multiplier: Array,
    channels: tuple[int, ...],
) -> Array:
    """Add the bias and take the last step; `channels` is the shape of a per-channel vector."""
    acc = in_int32(node, acc + bias.astype(np.float64).reshape(channels))
    scale = f32(multiplier).reshape(channels)
    if len(inputs) < 5 or inputs[4] is None:
        return last_step(node, f32(acc) * scale)
    r = inputs[4]
    if r.dtype == np.float32:
        return last_step(node, fma32(f32(acc), scale, r))
    residual = centred(node, "r", r, np.float32) * f32(present(node, inputs, 5))
    return last_step(node, fma32(f32(acc), scale, residual))


ARITHMETIC: dict[str, Operator] = {
    QCONV: qconv,
    QMATMUL: qmatmul,
    QAVERAGEPOOL: qaveragepool,
    QSOFTMAX: qsoftmax,
}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QCONV: ("x_zero_point", *LAST_STEP),
    QMATMUL: ("x_zero_point", *LAST_STEP),
    QAVERAGEPOOL: ("kernel_shape", "x_zero_point", *LAST_STEP),
    QSOFTMAX: LAST_STEP,
}
"""The attributes that have no default; the others default as in ONNX's Conv and Softmax."""
