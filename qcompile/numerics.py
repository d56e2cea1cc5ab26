"""The exact arithmetic of the integer graph in NumPy, for the oracle and for the fold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.quant import INTEGER_RANGES

Scale = float | np.floating | npt.NDArray[np.floating]
"""One scale or an array of them."""

F32 = npt.NDArray[np.float32]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def multiplier(s_x: Scale, s_w: Scale, s_y: Scale) -> npt.NDArray[np.float32]:
    """Return `float32(s_x * s_w / s_y)`, computed in float64 and rounded once.

    For a float output s_y is 1. What is beyond float32 becomes inf.
    """
    product = np.asarray(s_x, np.float64) * np.asarray(s_w, np.float64)
    with np.errstate(over="ignore"):
        return np.asarray(product / np.asarray(s_y, np.float64), np.float32)


def fma32(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return `a * b + c` in float32 with a single rounding, as a hardware fma does.

    The product of two float32 is exact in float64. TwoSum gives the float64 sum and what its
    rounding lost; where something was lost the sum is rounded to odd instead, so that the
    second rounding, to float32, cannot meet a false tie (Boldo and Melquiond, Emulation of
    FMA and correctly rounded sums, 2008).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(a, np.float32).astype(np.float64) * np.asarray(b, np.float32)
        addend = np.asarray(c, np.float32).astype(np.float64)
        total = np.asarray(product + addend, np.float64)
        part = total - product
        lost = (product - (total - part)) + (addend - part)
        even = (total.view(np.int64) & 1) == 0
        other = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
        to_odd = np.where(even & (lost != 0) & np.isfinite(lost), other, total)
        return np.asarray(to_odd, np.float32)


def finish(
    t: F32, *, y_dtype: ir.DataType, zero_point: int, lo: float, hi: float
) -> npt.NDArray[np.generic]:
    """Return the last step of every arithmetic operator (see `qcompile.ops`).

    8 bits: `clamp(rint(t) + zero_point, lo, hi)`, ties to even; float: `clamp(t, lo, hi)`.
    A NaN becomes lo, as `select(t > lo, t, lo)` makes it on every device.
    """
    if y_dtype == ir.DataType.FLOAT:
        return _clamp(t, lo, hi)
    # rint(t) is an integer and so are the bounds: exact, and clamped before any narrowing.
    steps = _clamp(np.rint(t), lo - zero_point, hi - zero_point)
    return np.asarray(steps + np.float32(zero_point), y_dtype.numpy())


def quantize(
    x: npt.NDArray[np.floating], scale: Scale, zero_point: npt.ArrayLike, dtype: ir.DataType
) -> npt.NDArray[np.generic]:
    """Return `clamp(rint(x / scale) + zero_point)`: float32 division, ties to even.

    A NaN becomes the lowest integer, an infinity saturates.
    """
    low, high = INTEGER_RANGES[dtype]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        t = np.asarray(np.asarray(x, np.float32) / np.asarray(scale, np.float32))
    # Twice the type's width on both sides: whatever the zero point, nothing is lost by it.
    steps = _clamp(np.rint(t), 2 * (low - high), 2 * (high - low)).astype(np.int32)
    shifted = steps + np.asarray(zero_point, np.int32)
    return np.asarray(np.clip(shifted, low, high), dtype.numpy())


def dequantize(
    q: npt.NDArray[np.generic], scale: Scale, zero_point: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Return `float32(q - zero_point) * scale`."""
    steps = q.astype(np.int64) - np.asarray(zero_point, np.int64)
    return np.asarray(steps.astype(np.float32) * np.asarray(scale, np.float32), np.float32)


def matmul(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return the exact product of two integer matrices (or stacks of them).

    float64 (BLAS) is exact while every sum stays below 2**53: for 9-bit times 8-bit factors
    that is 2**37 terms.
    """
    product = np.matmul(a.astype(np.float64), b.astype(np.float64))
    return np.asarray(product, np.int64)


def accumulator_bounds(
    w: npt.NDArray[np.generic],
    bias: npt.NDArray[np.generic] | None,
    x_zero_point: int,
    x_dtype: ir.DataType,
    *,
    axis: int = 0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the lowest and highest accumulator of each output channel over all inputs.

    Args:
        w: Integer weights.
        bias: Integer bias, one a channel, or None for 0.
        x_zero_point: Zero point of the input.
        x_dtype: Integer type of the input.
        axis: The output channel axis of w: 0 for QConv, -1 for QMatMul.
    """
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1).astype(np.int64)
    offset = np.zeros(len(rows), np.int64) if bias is None else bias.astype(np.int64)
    x_low, x_high = (bound - x_zero_point for bound in INTEGER_RANGES[x_dtype])
    positive = np.maximum(rows, 0).sum(axis=1)
    negative = np.minimum(rows, 0).sum(axis=1)
    lowest = offset + positive * x_low + negative * x_high
    highest = offset + positive * x_high + negative * x_low
    return lowest, highest


def _clamp(t: F32, low: float, high: float) -> F32:
    """Clamp in float32; fmax and fmin answer with the bound where t is not a number."""
    return np.asarray(np.fmin(np.fmax(t, np.float32(low)), np.float32(high)), np.float32)
