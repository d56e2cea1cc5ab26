"""The scale of a weight: from its range, raised until no int32 accumulator can overflow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcompile.numerics import INT32_MAX, INT32_MIN, accumulator_bounds
from qcompile.quant import LEAST_SCALE, QParams, QuantSpec

F64 = npt.NDArray[np.float64]

DEAD_SCALE = 2.0**-80
"""Scale of a channel that is 0, or next to it beside the others of its weight."""

NEXT_TO_ZERO = 2.0**-64
"""Share of the largest scale; what is below may be flattened."""

DEAD_BIAS_STEPS = 2.0**24
"""Steps that the bias of an all-zero channel takes: every one exact in float32."""

LEAST_RAISE = 1 + 2.0**-7
"""Raising a scale by less than one step of a weight may change no integer at all."""


def weight_qparams(
    weight: npt.NDArray[np.generic],
    bias: npt.NDArray[np.generic] | None,
    spec: QuantSpec,
    axis: int,
    x: QParams,
) -> QParams:
    """Return the parameters of a weight that is multiplied with an activation `x`.

    s_w = max |w| / 127 per channel (or over all), at least `least_scale`. Where
    the int32 bias `b / (s_x * s_w)` or the worst accumulator over all inputs would leave
    int32, s_w is raised until neither does.

    Args:
        weight: The float weight.
        bias: The float bias, one number or one a channel; None for 0.
        spec: The scheme; symmetric.
        axis: The output channel axis of the weight.
        x: The activation's parameters.
    """
    channels = weight.shape[axis]
    rows = np.moveaxis(weight, axis, 0).reshape(channels, -1).astype(np.float64)
    offset = np.zeros(channels) if bias is None else np.broadcast_to(bias.ravel(), channels)
    largest = np.max(np.abs(rows), axis=1, initial=0.0)
    steps = min(spec.bounds[1] - spec.middle, spec.middle - spec.bounds[0])
    dead = np.abs(offset) / (float(x.scale) * DEAD_BIAS_STEPS)
    if not spec.per_channel:
        largest = np.full(channels, largest.max(initial=0.0))
        dead = np.full(channels, dead.max(initial=0.0))
    least = least_scale(float(largest.max(initial=0.0)) / steps, x)
    scale = np.maximum(np.where(largest > 0, largest / steps, dead), least)
    while True:
        qparams = _qparams(spec, scale, axis)
        excess = _excess(weight, offset, qparams, axis, x)
        if (excess <= 1).all():
            return qparams
        if not spec.per_channel:
            excess = np.full(channels, excess.max())
        scale = np.where(excess > 1, scale * np.maximum(excess, LEAST_RAISE), scale)


def least_scale(largest: float, x: QParams) -> float:
    """Return the least scale of a channel beside a channel of the largest scale.

    s_x * s_w, which is the bias's scale, stays a normal float32.
    """
    dead = min(DEAD_SCALE, largest * NEXT_TO_ZERO) if largest > 0 else DEAD_SCALE
    # A hair more than the least: the product is rounded once more.
    normal = LEAST_SCALE * (1 + 2.0**-20)
    return max(dead, normal, normal / float(x.scale))


def vanishes(weight: npt.NDArray[np.generic], x: QParams) -> bool:
    """Whether a weight that is not 0 would become 0 under the least scale."""
    largest = float(np.abs(weight).max(initial=0.0))
    return 0 < largest <= least_scale(largest, x) / 2


def bias_scale(x: QParams, weight: QParams) -> npt.NDArray[np.float32]:
    """Return `s_x * s_w`, the scale of the int32 bias, in the weight scale's shape."""
    product = x.scale.astype(np.float64) * weight.scale.astype(np.float64)
    return np.asarray(product, np.float32)


def bias_steps(bias: npt.NDArray[np.generic], scale: npt.NDArray[np.float32]) -> F64:
    """Return the bias in steps of its scale, rounded; float64, since it may leave int32."""
    return np.asarray(np.rint(bias.astype(np.float64) / scale.astype(np.float64)))


def _qparams(spec: QuantSpec, scale: F64, axis: int) -> QParams:
    array = np.asarray(scale if spec.per_channel else scale.max(), np.float32)
    zero_point = np.full(array.shape, spec.middle, spec.dtype.numpy())
    return QParams(spec, array, zero_point, axis if spec.per_channel else None)


def _excess(
    weight: npt.NDArray[np.generic],
    offset: npt.NDArray[np.generic],
    qparams: QParams,
    axis: int,
    x: QParams,
) -> F64:
    """Return, per channel, the worst accumulator over all inputs in units of int32's range."""
    steps = bias_steps(offset, bias_scale(x, qparams))
    if (np.abs(steps) > INT32_MAX).any():
        return np.asarray(np.abs(steps) / INT32_MAX)
    lowest, highest = accumulator_bounds(
        qparams.quantize(weight.astype(np.float32)),
        steps.astype(np.int64),
        int(x.zero_point),
        x.spec.dtype,
        axis=axis,
    )
    return np.asarray(np.maximum(highest / INT32_MAX, lowest / INT32_MIN))
