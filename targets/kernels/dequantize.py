"""DequantizeLinear: from the layout of a quantized tensor to row-major float32."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.epilogue import centered
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dequantize:
    """`func(x, scale[1], y)`: y = float32(x - zero_point) * scale.

    Attributes:
        x: The quantized tensor; y is row-major in its shape.
        dtype: "uint8" or "int8".
        zero_point: Of x.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    x: View
    dtype: str
    zero_point: int
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        target = View.plain(self.x.shape)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("dequantize")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.x.layout.size,), self.dtype))
            scale = tir.arg("scale", tir.Buffer((1,), "float32"))
            y = tir.arg("y", tir.Buffer((target.layout.size,), "float32"))

            def step(x_spot: Spot, y_spot: Spot) -> None:
                lanes = y_spot.lanes
                number = centered(x_spot.load(x), self.zero_point, lanes=lanes)
                y_spot.store(y, number * Spot(0, 0, lanes).load(scale))

            for_each((self.x, target), step, lanes=self.lanes, parallel=self.parallel)
        return builder.get()
