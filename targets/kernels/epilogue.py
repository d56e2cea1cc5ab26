"""The last step of every arithmetic kernel: from an accumulator to the stored vector."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr

DTYPES = ("uint8", "int8", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epilogue:
    """Rescale, round and clamp exactly as `qcompile.ops` says.

    t = float32(acc) * multiplier
    t = fma(float32(acc), multiplier, residual * r_multiplier)
    y = clamp(rint(t) + zero_point, lo, hi)        float32: y = clamp(t, lo, hi)

    The clamp comes first here, as `rint(clamp(t, lo - zero_point, hi - zero_point))`: the
    same integer, since rint is monotone and the bounds are integers, and the conversion to
    int32 can then not overflow.

    Attributes:
        dtype: What is stored: "uint8", "int8" or "float32".
        zero_point: Of the output; 0 for float32.
        lo: Lowest value, in the output's own units.
        hi: Highest value.
        bounded: Whether |t| is known to stay below 2**31: then saturating conversions may do
            what the clamp does.
    """

    dtype: str
    zero_point: int = 0
    lo: float = -math.inf
    hi: float = math.inf
    bounded: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype}")
        if not self.lo <= self.hi:
            raise ValueError(f"nothing lies in [{self.lo}, {self.hi}]")
        if self.dtype == "float32":
            if self.zero_point:
                raise ValueError(f"float32 has no zero point, got {self.zero_point}")
            return
        lowest, highest = int(np.iinfo(self.dtype).min), int(np.iinfo(self.dtype).max)
        if not lowest <= self.zero_point <= highest:
            raise ValueError(f"zero point {self.zero_point} is not a {self.dtype}")
        lo, hi = float(max(self.lo, lowest)), float(min(self.hi, highest))
        if lo > hi or not (lo.is_integer() and hi.is_integer()):
            raise ValueError(f"no {self.dtype} bounds: [{self.lo}, {self.hi}]")
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    def finish(
        self,
        acc: Expr,
        multiplier: Expr,
        *,
        lanes: int,
        residual: Expr | None = None,
        r_multiplier: Expr | None = None,
    ) -> Expr:
        """Return the stored vector of an int32 accumulator; see `rescale`."""
        t = rescale(acc, multiplier, lanes=lanes, residual=residual, r_multiplier=r_multiplier)
        return self.store(t, lanes=lanes)

    def store(self, t: Expr, *, lanes: int) -> Expr:
        """Return the stored vector of t, float32[lanes]: clamp, round, add, narrow."""
        return tir.cast(self.widest(t, lanes=lanes), vector(self.dtype, lanes))

    def widest(self, t: Expr, *, lanes: int) -> Expr:
        """Return what is stored as int32 (or float32), so that only narrowing is left."""
        t = self._clamp(t, lanes)
        if self.dtype == "float32":
            return t
        integer = rounded(t, lanes)
        if self.zero_point:
            integer = integer + splat("int32", self.zero_point, lanes)
        return integer

    def clamp_stored(self, stored: Expr, *, lanes: int) -> Expr:
        """Return 8-bit numbers clamped to [lo, hi], where that is less than their type."""
        info = np.iinfo(self.dtype)
        if self.hi < info.max:
            stored = tir.min(stored, splat(self.dtype, int(self.hi), lanes))
        if self.lo > info.min:
            stored = tir.max(stored, splat(self.dtype, int(self.lo), lanes))
        return stored

    def _clamp(self, t: Expr, lanes: int) -> Expr:
        if self.hi < math.inf:
            t = tir.min(t, splat("float32", self.hi - self.zero_point, lanes))
        if self.lo > -math.inf:
            t = tir.max(t, splat("float32", self.lo - self.zero_point, lanes))
        return t


def rescale(
    acc: Expr,
    multiplier: Expr,
    *,
    lanes: int,
    residual: Expr | None = None,
    r_multiplier: Expr | None = None,
) -> Expr:
    """Return t, float32[lanes], of an int32 accumulator.

    Args:
        acc: int32[lanes].
        multiplier: float32[lanes].
        lanes: 1 for scalars.
        residual: float32[lanes], `float32(r - r_zero_point)`; see `centered`.
        r_multiplier: float32[lanes], with a residual.
    """
    real = tir.cast(acc, vector("float32", lanes))
    if residual is None:
        return real * multiplier
    return tir.fma(real, multiplier, residual * r_multiplier)


def rounded(t: Expr, lanes: int) -> Expr:
    """Return the nearest int32 of t, ties to even: one instruction on a CPU."""
    return tir.call_llvm_pure_intrin(vector("int32", lanes), "llvm.lrint", t)


def centered(stored: Expr, zero_point: int, *, lanes: int) -> Expr:
    """Return `float32(q - zero_point)` of a stored uint8 or int8 vector."""
    integer = tir.cast(stored, vector("int32", lanes))
    if zero_point:
        integer = integer - splat("int32", zero_point, lanes)
    return tir.cast(integer, vector("float32", lanes))


def vector(dtype: str, lanes: int) -> str:
    """Return the name of a vector type; one lane is a scalar."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def splat(dtype: str, value: float, lanes: int) -> Expr:
    """Return a constant in every lane."""
    scalar: Any = getattr(tir, dtype)(value)
    return scalar if lanes == 1 else tir.broadcast(scalar, lanes)


def span(start: Expr, lanes: int) -> Expr:
    """Return the index of `lanes` neighbouring elements of a flat buffer."""
    return start if lanes == 1 else tir.ramp(start, 1, lanes)
