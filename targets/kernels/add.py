"""QAdd: the sum of two quantized tensors, with NumPy's broadcasting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import vector
from qcompile.targets.kernels.pairwise import Pairwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add(Pairwise):
    """`func(a, b, a_multiplier[1], b_multiplier[1], y)`.

    t = fma(float32(a - a_zero_point), a_multiplier, float32(b - b_zero_point) * b_multiplier)
    """

    name = "add"
    multipliers = ("a_multiplier", "b_multiplier")

    def finish(self, a: Expr, b: Expr, multipliers: Sequence[Expr], lanes: int) -> Expr:
        """Return the stored vector; b is added as a residual is."""
        a_multiplier, b_multiplier = multipliers
        return self.epilogue.finish(
            a,
            a_multiplier,
            lanes=lanes,
            residual=tir.cast(b, vector("float32", lanes)),
            r_multiplier=b_multiplier,
        )
