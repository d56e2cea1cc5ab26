"""QAdd: the sum of two quantized tensors, with NumPy's broadcasting."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.epilogue import Epilogue, centered, splat, vector
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add:
    """`func(a, b, a_multiplier[1], b_multiplier[1], y)`.

    t = fma(float32(a - a_zero_point), a_multiplier, float32(b - b_zero_point) * b_multiplier)

    Attributes:
        a: The first summand, in its own shape.
        b: The second.
        y: The sum.
        a_dtype: "uint8" or "int8".
        b_dtype: "uint8" or "int8".
        a_zero_point: Of a.
        b_zero_point: Of b.
        epilogue: From the sum to y.
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

    def func(self) -> Any:
        """Return the PrimFunc."""
        views = (self.a.broadcast_to(self.y.shape), self.b.broadcast_to(self.y.shape), self.y)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("add")
            tir.func_attr({"tirx.noalias": True})
            a = tir.arg("a", tir.Buffer((self.a.layout.size,), self.a_dtype))
            b = tir.arg("b", tir.Buffer((self.b.layout.size,), self.b_dtype))
            a_multiplier = tir.arg("a_multiplier", tir.Buffer((1,), "float32"))
            b_multiplier = tir.arg("b_multiplier", tir.Buffer((1,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.epilogue.dtype))

            def step(a_spot: Spot, b_spot: Spot, y_spot: Spot) -> None:
                lanes = y_spot.lanes
                acc = tir.cast(a_spot.load(a), vector("int32", lanes))
                acc = acc - splat("int32", self.a_zero_point, lanes)
                result = self.epilogue.finish(
                    acc,
                    Spot(0, 0, lanes).load(a_multiplier),
                    lanes=lanes,
                    residual=centered(b_spot.load(b), self.b_zero_point, lanes=lanes),
                    r_multiplier=Spot(0, 0, lanes).load(b_multiplier),
                )
                y_spot.store(y, result)

            for_each(views, step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.epilogue.dtype, self.epilogue.zero_point)
        return builder.get()
