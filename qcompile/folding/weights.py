"""The constants of a convolution or matrix product, as the integers that its kernel takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.folding.folding import UnfoldableError
from qcompile.graphs.qdq import BYTES, Grid, along, qdq_parameters, real_constant
from qcompile.numerics import F32, INT32_MAX, INT32_MIN, accumulator_bounds
from qcompile.regions import constant

SAME_SCALE = 2.0**-20
"""Relative difference of two scales that are meant to be one: a few float32 roundings."""


def integer_weight(
    value: ir.Value | None, axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Return the weight as int8 around 0, and one scale for each channel along `axis`.

    Raises:
        UnfoldableError: It is no 8-bit constant, has zero points that int8 around 0 cannot
            absorb, or scales along another axis.
    """
    pair = value.producer() if value is not None else None
    integers = constant(pair.inputs[0]) if pair is not None else None
    parameters = qdq_parameters(pair)
    if pair is None or integers is None:
        raise UnfoldableError("its weight is not quantized")
    if parameters is None:
        raise UnfoldableError("its weight has blocked or computed scales")
    scale, zero_point, dtype = parameters
    if dtype not in BYTES:
        raise UnfoldableError(f"its weight is {dtype.name}, the kernels take 8 bits")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UnfoldableError("its weight has a scale that is not positive and finite")
    scale_axis = pair.attributes.get_int("axis", 1) % integers.ndim
    if scale.size > 1 and scale_axis != axis:
        raise UnfoldableError(f"its weight has scales along axis {scale_axis}, not {axis}")
    centred = integers.astype(np.float64) - along(zero_point, scale_axis, integers.ndim)
    if centred.min(initial=0) < -128 or centred.max(initial=0) > 127:
        raise UnfoldableError("its weight has a zero point that int8 cannot absorb")
    scales = np.broadcast_to(scale.reshape(-1), integers.shape[axis])
    return centred.astype(np.int8), scales


def integer_bias(
    value: ir.Value | None, scale: npt.NDArray[np.float64], node: ir.Node
) -> npt.NDArray[np.int64]:
    """Return the bias in steps of `scale` (one a channel), zeros where there is none.

    An int32 bias on this very scale keeps its integers; any other is rounded to it.

    Raises:
        UnfoldableError: It is no constant, or not one number a channel.
        CompileError: It is beyond int32.
    """
    if value is None:
        return np.zeros(scale.shape, np.int64)
    real = real_constant(value)
    if real is None:
        raise UnfoldableError("its bias is not a constant")
    if real.size not in (1, scale.size):
        raise UnfoldableError("its bias is not one number a channel")
    kept = _same_steps(value, scale)
    steps = np.rint(np.broadcast_to(real.reshape(-1), scale.shape) / scale)
    bias = steps if kept is None else kept.astype(np.float64)
    _check_int32(bias, bias, node, "the bias")
    return bias.astype(np.int64)


def room_for_bias(
    w: npt.NDArray[np.int8],
    w_scale: npt.NDArray[np.float64],
    bias: ir.Value | None,
    x_scale: float,
    axis: int,
) -> npt.NDArray[np.float64]:
    """Return the weight scales, those of all-zero channels raised until the bias fits.

    A channel without weights may have any scale, and tools give it a tiny one; 2**30 steps
    then hold the bias to more digits than float32 has.
    """
    real = real_constant(bias)
    if real is None or real.size not in (1, w_scale.size):
        return w_scale
    dead = ~np.moveaxis(w, axis, 0).reshape(w_scale.size, -1).any(axis=1)
    needed = np.abs(real.reshape(-1)) / (x_scale * 2.0**30)
    return np.where(dead, np.maximum(w_scale, needed), w_scale)


def drop_overflowing_weights(
    w: npt.NDArray[np.int8],
    bias: npt.NDArray[np.int64],
    x: Grid,
    axis: int,
    last_step: Callable[[F32], npt.NDArray[np.generic]],
) -> npt.NDArray[np.int8]:
    """Return the weights, zeros for channels that could overflow and yet are constant.

    A tool that raises the weight scale of a nearly dead channel until its bias fits int32
    leaves no room for the products, although they are too small to change the output.

    Args:
        w: Integer weights.
        bias: Integer bias, one a channel.
        x: The grid of the input.
        axis: The output channel axis of w.
        last_step: Gives the outputs of accumulators, one a channel; it is monotone, so a
            channel that gives one output for its lowest and its highest is constant.
    """
    bounds = accumulator_bounds(w, bias, x.zero_point, x.dtype, axis=axis)
    beyond = (bounds[0] < INT32_MIN) | (bounds[1] > INT32_MAX)
    if not beyond.any():
        return w
    low, high = (last_step(bound.astype(np.float32)) for bound in bounds)
    dropped = along(beyond & (low == high), axis, w.ndim).astype(bool)
    return np.where(dropped, np.int8(0), w)


def check_accumulator(
    w: npt.NDArray[np.int8],
    bias: npt.NDArray[np.int64],
    x: Grid,
    node: ir.Node,
    axis: int,
) -> npt.NDArray[np.int64]:
    """Return the largest magnitude of each channel's accumulator over all inputs.

    Raises:
        CompileError: It is beyond int32.
    """
    lowest, highest = accumulator_bounds(w, bias, x.zero_point, x.dtype, axis=axis)
    _check_int32(lowest, highest, node, "the accumulator")
    return np.maximum(np.abs(lowest), np.abs(highest))


def _same_steps(
    value: ir.Value, scale: npt.NDArray[np.float64]
) -> npt.NDArray[np.generic] | None:
    """Return the integers of an int32 bias whose scale is `scale` up to rounding."""
    pair = value.producer()
    parameters = qdq_parameters(pair)
    integers = constant(pair.inputs[0]) if pair is not None else None
    if parameters is None or integers is None or integers.dtype != np.int32:
        return None
    given, zero_point, _ = parameters
    ratio = given.reshape(-1) / scale
    if integers.size != scale.size or zero_point.any():
        return None
    return integers.reshape(-1) if (np.abs(ratio - 1) <= SAME_SCALE).all() else None


def _check_int32(
    lowest: npt.NDArray[np.number],
    highest: npt.NDArray[np.number],
    node: ir.Node,
    what: str,
) -> None:
    beyond = (lowest < INT32_MIN) | (highest > INT32_MAX)
    if not beyond.any():
        return
    channel = int(np.argmax(beyond))
    worst = highest[channel] if highest[channel] > INT32_MAX else lowest[channel]
    name = node.name or node.outputs[0].name
    raise CompileError(
        f"{what} of channel {channel} may reach {int(worst)}, beyond int32",
        where=f"node {name!r}",
        hint="give the channel a larger weight scale, or keep the node in float: "
        f"nodes.{name!r}.float = true in the config",
    )
