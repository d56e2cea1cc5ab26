"""Float operators that treat elements alike: functions of one number, sums and products."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.float_functions import FUNCTIONS
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View

OPERATIONS: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}
"""By the name of the ONNX operator: one float32 operation, rounded once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatFunction:
    """`func(x, y)`: y = function(x), element by element.

    Attributes:
        x: The argument.
        y: The answer, float32.
        function: A name in `float_functions.FUNCTIONS`.
        dtype: Of x: "float32", or what a Cast makes one of.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    function: str
    dtype: str = "float32"
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("float_function")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), "float32"))

            def step(x_spot: Spot, y_spot: Spot) -> None:
                y_spot.store(y, FUNCTIONS[self.function](x_spot.load(x), y_spot.lanes))

            for_each((self.x, self.y), step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, "float32", 0)
        return builder.get()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatClamp:
    """`func(x, y)`: y = x in [lo, hi], element by element; NaN stays NaN.

    Attributes:
        x: The argument.
        y: The answer.
        end: The bounds.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    end: FloatEnd
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("float_clamp")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), "float32"))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), "float32"))

            def step(x_spot: Spot, y_spot: Spot) -> None:
                y_spot.store(y, self.end.finish(x_spot.load(x), None, y_spot.lanes))

            for_each((self.x, self.y), step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, "float32", 0)
        return builder.get()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatPair:
    """`func(a, b, y)`: y = a op b in float32, with NumPy's broadcasting.

    Attributes:
        a: The first operand, in its own shape.
        b: The second.
        y: The answer.
        operation: A name in OPERATIONS.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    a: View
    b: View
    y: View
    operation: str
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        views = (self.a.broadcast_to(self.y.shape), self.b.broadcast_to(self.y.shape), self.y)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("float_pair")
            tir.func_attr({"tirx.noalias": True})
            a, b, y = (
                tir.arg(name, tir.Buffer((view.layout.size,), "float32"))
                for name, view in zip("aby", (self.a, self.b, self.y), strict=True)
            )

            def step(a_spot: Spot, b_spot: Spot, y_spot: Spot) -> None:
                y_spot.store(y, OPERATIONS[self.operation](a_spot.load(a), b_spot.load(b)))

            for_each(views, step, lanes=self.lanes, parallel=self.parallel)
            fill_halo(y, self.y.layout, "float32", 0)
        return builder.get()
