"""QMul: the product of two quantized tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.pairwise import Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mul(Step):
    """t = float32((a - a_zero_point) * (b - b_zero_point)) * multiplier.

    The product has 16 bits at most and a sign: in float32 it is as exact as in int32.
    """

    multipliers: ClassVar[int] = 1

    def real(self, a: Expr, b: Expr, multipliers: Sequence[Expr]) -> Expr:
        """Return t."""
        return a * b * multipliers[0]
