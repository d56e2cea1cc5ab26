"""What is quantized by a range that is known only at run time (see `qcompile.ops`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.numerics import F32, finish, fma32, matmul, quantize
from qcompile.ops import QDYNAMICBATCHMATMUL, QDYNAMICMATMUL
from qcompile.oracle.steps import Array, Operator, f32, in_int32, present


def dynamic_quantize_linear(node: ir.Node, inputs: Sequence[Array | None]) -> list[Array]:
    """ONNX's DynamicQuantizeLinear: uint8 integers, their scale and their zero point."""
    x = f32(present(node, inputs, 0))
    scale, zero_point = grid(x)
    return [quantize(x, scale, zero_point, ir.DataType.UINT8), scale, zero_point]


def grid(x: F32) -> tuple[F32, npt.NDArray[np.uint8]]:
    """Return the scale and zero point that cover x and 0, in float32 step by step.

    scale = (high - low) / 255, 1 where that range is empty
    zero_point = rint(clamp(-low / scale, 0, 255)), 255 where that is no number (a range
    below the least float32 or beyond the largest)

    A NaN in x counts as nothing.
    """
    low, high = (
        np.asarray(end.reduce(x, axis=None, initial=np.float32(0)), np.float32)
        for end in (np.fmin, np.fmax)
    )
    with np.errstate(all="ignore"):
        scale = np.asarray((high - low) / np.float32(255), np.float32)
        scale = np.where(high == low, np.float32(1), scale)
        steps = np.fmin(np.fmax(np.float32(0), np.nan_to_num(-low / scale, nan=255)), 255)
    return np.asarray(scale, np.float32), np.asarray(np.rint(steps), np.uint8)


def qdynamicmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QDynamicMatMul: times a constant matrix, with scales and a bias of float."""
    x, x_scale, x_zero_point, w, w_scale, bias = (
        present(node, inputs, index) for index in range(6)
    )
    acc = in_int32(node, matmul(_minus(x, x_zero_point), w))
    return finish(
        fma32(f32(acc), f32(x_scale) * f32(w_scale), f32(bias)),
        y_dtype=ir.DataType.FLOAT,
        zero_point=0,
        lo=node.attributes["lo"].as_float(),
        hi=node.attributes["hi"].as_float(),
    )


def qdynamicbatchmatmul(node: ir.Node, inputs: Sequence[Array | None]) -> Array:
    """QDynamicBatchMatMul: matrices times matrices, both quantized at run time."""
    a, a_scale, a_zero_point, b, b_scale, b_zero_point = (
        present(node, inputs, index) for index in range(6)
    )
    acc = in_int32(node, matmul(_minus(a, a_zero_point), _minus(b, b_zero_point)))
    return f32(acc) * (f32(a_scale) * f32(b_scale))


def _minus(x: Array, zero_point: Array) -> Array:
    return x.astype(np.int64) - zero_point.astype(np.int64)


ARITHMETIC: dict[str, Operator] = {
    QDYNAMICMATMUL: qdynamicmatmul,
    QDYNAMICBATCHMATMUL: qdynamicbatchmatmul,
}
"""Operator -> its function of (node, input arrays)."""

REQUIRED: dict[str, tuple[str, ...]] = {
    QDYNAMICMATMUL: ("lo", "hi"),
    QDYNAMICBATCHMATMUL: (),
}
"""The attributes that have no default."""
