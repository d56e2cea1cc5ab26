"""The 8-bit number of a float: the correctly rounded quotient without a division."""

from __future__ import annotations

import numpy as np
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import rounded, vector
from qcompile.targets.kernels.kept import kept, spread

SAFE = 2.0**100
"""Scales up to it and down to its reciprocal: nothing that matters over- or underflows."""


def must_divide(scale: float) -> bool:
    """Whether a scale is too great or too small for the product with its reciprocal."""
    return not 1 / SAFE <= scale <= SAFE


def quantized(
    x: Expr, scale: Expr, dtype: str, zero_point: Expr, lanes: int, *, divide: bool = False
) -> Expr:
    """Return `clamp(rint(x / scale) + zero_point)` of a float32 vector; NaN is the lowest.

    Args:
        x: float32[lanes].
        scale: A float32 scalar.
        dtype: "uint8" or "int8".
        zero_point: Of that type: a Python number or an int32 scalar.
        lanes: 1 for scalars.
        divide: Whether to divide; else the scale is one of those that need not.
    """
    number = steps(x, scale, dtype, zero_point, lanes, divide=divide)
    return tir.cast(number, vector(dtype, lanes))


def steps(
    x: Expr, scale: Expr, dtype: str, zero_point: Expr, lanes: int, *, divide: bool = False
) -> Expr:
    """Return what `quantized` does, as int32[lanes]."""
    info, shift = np.iinfo(dtype), tir.int32(zero_point)
    lowest, highest = (tir.cast(int(end) - shift, "float32") for end in (info.min, info.max))
    if divide:
        number = clamped(x / spread(scale, lanes), lowest, highest, lanes)
    else:
        number = quotient(clamped(x, lowest * scale, highest * scale, lanes), scale, lanes)
    return rounded(number, lanes) + spread(shift, lanes)


def quotient(x: Expr, scale: Expr, lanes: int) -> Expr:
    """Return a float32 vector that `rint` takes to the integer of x / scale, rounded once.

    r = 1 / scale        q = x * r        e = fma(-q, scale, x)        x / scale ~ fma(e, r, q)

    is a division's last step (P. Markstein, "Computation of elementary functions on the IBM
    RISC System/6000 processor", 1990; J.-M. Muller et al., "Handbook of Floating-Point
    Arithmetic", section 4.7): e is exact, and where q is one of the two numbers around the
    quotient, the answer is the correctly rounded one.

    With one product before it, q may be 1.5 units off. That matters only where the quotient
    is so near the middle of two numbers, within 2**-22 of their distance, that an error of
    the last sum decides. There q is 0.5 or 1.5 units away, and it is 1.5 at most where the
    mantissa of the quotient is just below 2. `rint` asks for the middles beside k + 1/2 for
    k < 256 alone, whose mantissas are below 2 - 2**-8, and beside 1/2 from below, which no
    quotient reaches: x is then at most the number before scale / 2. (Tried for every mantissa
    of a scale, every k, and the seven numbers x around (k + 1/2) * scale.)

    Args:
        x: float32[lanes], no NaN, at most 256 scales.
        scale: A float32 scalar in [1 / SAFE, SAFE].
        lanes: 1 for scalars.
    """
    r = spread(tir.float32(1) / scale, lanes)
    x = kept(x)
    q = kept(x * r)
    e = tir.fma(-q, spread(scale, lanes), x)
    return tir.fma(e, r, q)


def clamped(x: Expr, lowest: Expr, highest: Expr, lanes: int) -> Expr:
    """Return x between two scalars; a NaN becomes the lowest."""
    lowest, highest = spread(lowest, lanes), spread(highest, lanes)
    x = kept(x)
    x = kept(tir.Select(x > lowest, x, lowest))
    return tir.Select(x < highest, x, highest)
