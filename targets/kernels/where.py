"""Where on integers: of two tensors of one scale, the one that a condition picks."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.copies import elements
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    """`func(condition, a, b, y)`: y = condition ? a : b, with NumPy's broadcasting.

    Attributes:
        condition: Of bool, 0 or 1.
        a: What is taken where it holds.
        b: What is taken elsewhere.
        y: The answer.
        dtype: Of a, b and y.
        zero_point: Of all three; fills the halo of y.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    condition: View
    a: View
    b: View
    y: View
    dtype: str
    zero_point: int = 0
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        inputs = (self.condition, self.a, self.b)
        views = (*(view.broadcast_to(self.y.shape) for view in inputs), self.y)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("where")
            tir.func_attr({"tirx.noalias": True})
            condition = tir.arg("condition", tir.Buffer((self.condition.layout.size,), "bool"))
            a = tir.arg("a", tir.Buffer((self.a.layout.size,), self.dtype))
            b = tir.arg("b", tir.Buffer((self.b.layout.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), self.dtype))

            def step(c_spot: Spot, a_spot: Spot, b_spot: Spot, y_spot: Spot) -> None:
                holds = c_spot.load(condition)
                y_spot.store(y, tir.Select(holds, a_spot.load(a), b_spot.load(b)))

            lanes = elements(self.lanes, self.dtype)
            for_each(views, step, lanes=lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, self.dtype, self.zero_point)
        return builder.get()
