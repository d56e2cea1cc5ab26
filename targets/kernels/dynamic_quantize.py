"""DynamicQuantizeLinear, its second half: quantize by a scale known only at run time."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.kernels.quotient import SAFE, quantized
from qcompile.targets.kernels.strided import Spot, for_each
from qcompile.targets.kernels.view import View


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicQuantize:
    """`func(x, scale[1], zero_point uint8[1], y)`: clamp(rint(x / scale) + zero_point).

    A NaN gives 0.

    Attributes:
        y: The quantized tensor; x is row-major in its shape.
        lanes: Elements of a vector.
        parallel: Whether threads share the work.
    """

    y: View
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        source = View.plain(self.y.shape)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("dynamic_quantize")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((source.layout.size,), "float32"))
            scale = tir.arg("scale", tir.Buffer((1,), "float32"))
            zero_point = tir.arg("zero_point", tir.Buffer((1,), "uint8"))
            y = tir.arg("y", tir.Buffer((self.y.layout.size,), "uint8"))

            def quantize(divide: bool) -> None:
                def step(x_spot: Spot, y_spot: Spot) -> None:
                    number, shift = x_spot.load(x), tir.cast(zero_point[0], "int32")
                    stored = quantized(
                        number, scale[0], "uint8", shift, x_spot.lanes, divide=divide
                    )
                    y_spot.store(y, stored)

                for_each((source, self.y), step, lanes=self.lanes, parallel=self.parallel)

            safe = tir.And(scale[0] >= tir.float32(1 / SAFE), scale[0] <= tir.float32(SAFE))
            with tir.If(safe):
                with tir.Then():
                    quantize(divide=False)
                with tir.Else():
                    quantize(divide=True)
        return builder.get()
