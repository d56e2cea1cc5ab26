"""8-bit numbers of the other type: all moved by 128."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.epilogue import splat, vector
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View

OTHER = {"uint8": "int8", "int8": "uint8"}
HIGHEST_BIT = -128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip:
    """`func(x, y)`: y = x - 128 as int8 of uint8, x + 128 of int8: the highest bit flips.

    Attributes:
        x: The numbers.
        y: Where they go.
        dtype: Of x.
        lanes: 32-bit lanes of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    y: View
    dtype: str
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        other = OTHER[self.dtype]
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("flip")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), other))

            def step(x_spot: Spot, y_spot: Spot) -> None:
                bits = tir.reinterpret(vector("int8", x_spot.lanes), x_spot.load(x))
                bits = tir.bitwise_xor(bits, splat("int8", HIGHEST_BIT, x_spot.lanes))
                y_spot.store(y, tir.reinterpret(vector(other, x_spot.lanes), bits))

            for_each((self.x, self.y), step, lanes=4 * self.lanes, parallel=self.parallel)
        return builder.get()
