"""The end of a float product: a residual, bounds or a function, before the sum is stored."""

from __future__ import annotations

import dataclasses
import math

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import splat
from qcompile.targets.kernels.float_functions import FUNCTIONS
from qcompile.targets.kernels.kept import kept


@dataclasses.dataclass(frozen=True)
class FloatEnd:
    """y = function(c) or, as a gate, c * function(c), with c = clamp(t + r, lo, hi).

    Each step is rounded once; NaN stays NaN.

    Attributes:
        lo: Lowest number.
        hi: Highest number.
        function: A name in `float_functions.FUNCTIONS`, if any.
        gate: Whether it is multiplied by c: c * Sigmoid(c).
    """

    lo: float = -math.inf
    hi: float = math.inf
    function: str = ""
    gate: bool = False

    def finish(self, t: Expr, residual: Expr | None, lanes: int) -> Expr:
        """Return what is stored of t and its residual, float32[lanes]."""
        if residual is not None:
            t = kept(t + residual)
        t = clamped(t, self.lo, self.hi, lanes)
        if not self.function:
            return t
        t = kept(t)
        result = FUNCTIONS[self.function](t, lanes)
        return t * kept(result) if self.gate else result


def clamped(x: Expr, lo: float, hi: float, lanes: int) -> Expr:
    """Return x in [lo, hi]; NaN stays NaN."""
    if lo > -math.inf:
        low = splat("float32", lo, lanes)
        x = kept(tir.Select(x < low, low, x))
    if hi < math.inf:
        high = splat("float32", hi, lanes)
        x = kept(tir.Select(x > high, high, x))
    return x
