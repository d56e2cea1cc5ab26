"""A vector of constants times one number that is known at run time."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleVector:
    """`func(number[1], constants, y)`: y = (number + offset) * constants, one by one.

    Attributes:
        size: Elements.
        number_dtype: Of the number.
        dtype: Of the constants and y: "float32" or "int32".
        offset: See above.
        lanes: 32-bit lanes of a vector.
    """

    size: int
    number_dtype: str
    dtype: str
    offset: int = 0
    lanes: int = 16

    def func(self) -> Any:
        """Return the PrimFunc."""
        views = (View.plain((self.size,)), View.plain((self.size,)))
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("scale_vector")
            tir.func_attr({"tirx.noalias": True})
            number = tir.arg("number", tir.Buffer((1,), self.number_dtype))
            constants = tir.arg("constants", tir.Buffer((self.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.size,), self.dtype))

            def step(spot: Spot, y_spot: Spot) -> None:
                factor = tir.cast(number[0], self.dtype)
                if self.offset:
                    factor = factor + self.offset
                if spot.lanes > 1:
                    factor = tir.broadcast(factor, spot.lanes)
                y_spot.store(y, factor * spot.load(constants))

            for_each(views, step, lanes=self.lanes)
        return builder.get()
