"""What the operators of the integer graph share: centred inputs, int32 sums, the last step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.numerics import INT32_MAX, INT32_MIN, finish

Array = npt.NDArray[np.generic]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
"""Integers, where a matmul is near: float64 holds them exactly up to 2**53, and has BLAS."""

T = TypeVar("T", bound=np.generic)
Operator = Callable[[ir.Node, Sequence[Array | None]], Array]
"""Computes a node's output from its inputs; an absent input is None."""

LAST_STEP = ("y_dtype", "y_zero_point", "lo", "hi")
"""The attributes that `last_step` reads."""


def last_step(node: ir.Node, t: F32) -> Array:
    """Round, add the zero point and clamp, as the node's attributes say."""
    return finish(
        t,
        y_dtype=ir.DataType(node.attributes["y_dtype"].as_int()),
        zero_point=node.attributes["y_zero_point"].as_int(),
        lo=node.attributes["lo"].as_float(),
        hi=node.attributes["hi"].as_float(),
    )


def in_int32(node: ir.Node, acc: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return exact sums that a device's int32 holds too."""
    for worst in (acc.min(initial=0), acc.max(initial=0)):
        if not INT32_MIN <= int(worst) <= INT32_MAX:
            raise CompileError(
                f"an accumulator of {node.op_type} reaches {int(worst)}, beyond int32",
                where=f"node {node.name or node.outputs[0].name!r}",
            )
    return acc


def present(node: ir.Node, inputs: Sequence[Array | None], index: int) -> Array:
    """Return an input that must be there."""
    array = inputs[index] if index < len(inputs) else None
    if array is None:
        raise CompileError(
            f"{node.op_type} lacks its input {index}",
            where=f"node {node.name or node.outputs[0].name!r}",
        )
    return array


def centred(node: ir.Node, name: str, x: Array, dtype: type[T]) -> npt.NDArray[T]:
    """Return `x - zero_point`, exact in every type that is asked for here."""
    zero_point = node.attributes.get_int(f"{name}_zero_point", 0)
    return (x.astype(np.int16) - np.int16(zero_point)).astype(dtype)


def f32(x: Array) -> F32:
    """Round to float32."""
    return x.astype(np.float32)
