"""QAdd: the sum of two quantized tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.pairwise import Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add(Step):
    """t = fma(a, a_multiplier, b * b_multiplier), of a and b without their zero points."""

    multipliers: ClassVar[int] = 2

    def real(self, a: Expr, b: Expr, multipliers: Sequence[Expr]) -> Expr:
        """Return t; b is added as a residual is."""
        a_multiplier, b_multiplier = multipliers
        return tir.fma(a, a_multiplier, b * b_multiplier)
