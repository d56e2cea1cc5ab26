"""QMul: the product of two quantized tensors, with NumPy's broadcasting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.pairwise import Pairwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mul(Pairwise):
    """`func(a, b, multiplier[1], y)`: acc = (a - a_zero_point) * (b - b_zero_point)."""

    name = "mul"
    multipliers = ("multiplier",)

    def finish(self, a: Expr, b: Expr, multipliers: Sequence[Expr], lanes: int) -> Expr:
        """Return the stored vector."""
        return self.epilogue.finish(a * b, multipliers[0], lanes=lanes)
