"""What each operator of the domain `qcompile` computes (see `qcompile.ops`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.numerics import INT32_MAX, INT32_MIN, finish, fma32
from qcompile.ops import QADD, QAVERAGEPOOL, QCONV, QLUT, QMATMUL, QSOFTMAX
from qcompile.oracle.windows import Windows
from qcompile.quant import INTEGER_RANGES

Array = npt.NDArray[np.generic]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
"""Integers, where a matmul is near: float64 holds them exactly up to 2**53, and has BLAS."""

T = TypeVar("T", bound=np.generic)
Operator = Callable[[ir.Node, Sequence[Array | None]], Array]


def qconv(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QConv: convolution, bias, requantize, with or without a residual."""
    x, w, bias, multiplier = (_present(node, inputs, index) for index in range(4))
    acc = _convolve(node, _centred(node, "x", x, np.float64), w.astype(np.float64))
    return _weighted(node, inputs, acc, bias, multiplier, (1, -1, 1, 1))


def qmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QMatMul: x times a constant matrix, bias, requantize, with or without a residual."""
    x, w, bias, multiplier = (_present(node, inputs, index) for index in range(4))
    acc = np.matmul(_centred(node, "x", x, np.float64), w.astype(np.float64))
    return _weighted(node, inputs, acc, bias, multiplier, (-1,))


def qadd(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QAdd: the sum of two tensors of different scales, with one rounding before the last."""
    a, b, a_multiplier, b_multiplier = (_present(node, inputs, index) for index in range(4))
    addend = _centred(node, "b", b, np.float32) * _f32(b_multiplier)
    return _finish(node, fma32(_centred(node, "a", a, np.float32), _f32(a_multiplier), addend))


def qaveragepool(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QAveragePool: sums over windows; the counts are in the multiplier."""
    x, multiplier = (_present(node, inputs, index) for index in range(2))
    windows = Windows.of(node, node.attributes["kernel_shape"].as_ints())
    counts = windows.counts(x.shape[2:])
    acc = np.zeros((*x.shape[:2], *counts), np.int64)
    for _, part in windows.taps(_centred(node, "x", x, np.int64), 0, counts):
        acc += part
    return _finish(node, _f32(_in_int32(node, acc)) * _f32(multiplier))


def qsoftmax(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QSoftmax: exponentials from a table of integers, their exact sum, one division."""
    x, table, multiplier = (_present(node, inputs, index) for index in range(3))
    axis = node.attributes.get_int("axis", -1)
    steps = x.astype(np.int64)
    e = table.astype(np.int64)[steps.max(axis=axis, keepdims=True) - steps]
    total = _in_int32(node, e.sum(axis=axis, keepdims=True))
    return _finish(node, (_f32(e) * _f32(multiplier)) / _f32(total))


def qlut(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QLut: 256 answers, looked up."""
    x, table = (_present(node, inputs, index) for index in range(2))
    lowest = INTEGER_RANGES[ir.DataType.from_numpy(x.dtype)][0]
    return table[x.astype(np.int64) - lowest]


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
    acc = _in_int32(node, acc + bias.astype(np.float64).reshape(channels))
    scale = _f32(multiplier).reshape(channels)
    if len(inputs) < 5 or inputs[4] is None:
        return _finish(node, _f32(acc) * scale)
    residual = _centred(node, "r", inputs[4], np.float32) * _f32(_present(node, inputs, 5))
    return _finish(node, fma32(_f32(acc), scale, residual))


def _finish(node: ir.Node, t: F32) -> Array:
    return finish(
        t,
        y_dtype=ir.DataType(node.attributes["y_dtype"].as_int()),
        zero_point=node.attributes["y_zero_point"].as_int(),
        lo=node.attributes["lo"].as_float(),
        hi=node.attributes["hi"].as_float(),
    )


def _in_int32(node: ir.Node, acc: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return exact sums that a device's int32 holds too."""
    for worst in (acc.min(initial=0), acc.max(initial=0)):
        if not INT32_MIN <= int(worst) <= INT32_MAX:
            raise CompileError(
                f"an accumulator of {node.op_type} reaches {int(worst)}, beyond int32",
                where=f"node {node.name or node.outputs[0].name!r}",
            )
    return acc


def _present(node: ir.Node, inputs: Sequence[Array | None], index: int) -> Array:
    array = inputs[index] if index < len(inputs) else None
    if array is None:
        raise CompileError(
            f"{node.op_type} lacks its input {index}",
            where=f"node {node.name or node.outputs[0].name!r}",
        )
    return array


def _centred(node: ir.Node, name: str, x: Array, dtype: type[T]) -> npt.NDArray[T]:
    """Return `x - zero_point`, exact in every type that is asked for here."""
    zero_point = node.attributes.get_int(f"{name}_zero_point", 0)
    return (x.astype(np.int16) - np.int16(zero_point)).astype(dtype)


def _f32(x: Array) -> F32:
    return x.astype(np.float32)


LAST_STEP = ("y_dtype", "y_zero_point", "lo", "hi")

ARITHMETIC: dict[str, Operator] = {
    QCONV: qconv,
    QMATMUL: qmatmul,
    QADD: qadd,
    QAVERAGEPOOL: qaveragepool,
    QSOFTMAX: qsoftmax,
    QLUT: qlut,
}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QCONV: ("x_zero_point", *LAST_STEP),
    QMATMUL: ("x_zero_point", *LAST_STEP),
    QADD: ("a_zero_point", "b_zero_point", *LAST_STEP),
    QAVERAGEPOOL: ("kernel_shape", "x_zero_point", *LAST_STEP),
    QSOFTMAX: LAST_STEP,
    QLUT: (),
}
"""The attributes that have no default; the others default as in ONNX's Conv and Softmax."""
