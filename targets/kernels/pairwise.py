"""What kernels of two broadcast tensors share: QAdd and QMul."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import Epilogue, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairwise(abc.ABC):
    """`func(a, b, multipliers[1] ..., y)`, element by element, with NumPy's broadcasting.

    Attributes:
        a: The first tensor, in its own shape.
        b: The second.
        y: The answer.
        a_dtype: "uint8" or "int8".
        b_dtype: "uint8" or "int8".
        a_zero_point: Of a.
        b_zero_point: Of b.
        epilogue: From t to y.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    a: View
    b: View
    y: View
    a_dtype: str
    b_dtype: str
    a_zero_point: int
    b_zero_point: int
    epilogue: Epilogue
    lanes: int = 16
    parallel: bool = False

    name: ClassVar[str]
    multipliers: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def finish(self, a: Expr, b: Expr, multipliers: Sequence[Expr], lanes: int) -> Expr:
        """Return the stored vector.

        Args:
            a: int32[lanes], without its zero point.
            b: The same of b.
            multipliers: float32[lanes] each.
            lanes: 1 for scalars.
        """

    def func(self) -> Any:
        """Return the PrimFunc."""
        views = (self.a.broadcast_to(self.y.shape), self.b.broadcast_to(self.y.shape), self.y)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name(self.name)
            tir.func_attr({"tirx.noalias": True})
            a = tir.arg("a", tir.Buffer((self.a.layout.size,), self.a_dtype))
            b = tir.arg("b", tir.Buffer((self.b.layout.size,), self.b_dtype))
            factors = [tir.arg(name, tir.Buffer((1,), "float32")) for name in self.multipliers]
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.epilogue.dtype))

            def step(a_spot: Spot, b_spot: Spot, y_spot: Spot) -> None:
                lanes = y_spot.lanes
                result = self.finish(
                    widened(a_spot.load(a), self.a_zero_point, lanes),
                    widened(b_spot.load(b), self.b_zero_point, lanes),
                    [Spot(0, 0, lanes).load(factor) for factor in factors],
                    lanes,
                )
                y_spot.store(y, result)

            for_each(views, step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()


def widened(stored: Expr, zero_point: int, lanes: int) -> Expr:
    """Return `q - zero_point` of a stored vector, int32[lanes]."""
    integer = tir.cast(stored, vector("int32", lanes))
    return integer - splat("int32", zero_point, lanes) if zero_point else integer
