"""What a kernel over rows of floats gives: the floats, their 8-bit form, or both."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.kept import kept
from qcompile.targets.kernels.quotient import quantized
from qcompile.targets.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowOutput:
    """What becomes of rows of floats: the QuantizeLinear behind them runs on the way.

    y is stored without gaps if it is wanted; q = quantized(y * factor) is if there is one.

    Attributes:
        real: Whether y itself is stored.
        q: Where its 8-bit form lies, if that is wanted.
        dtype: Of q.
        zero_point: Of q.
        divide: Whether to divide, for a scale that `quotient.must_divide` says.
        factor: Whether there is a factor a channel before q.
    """

    real: bool = True
    q: Layout | None = None
    dtype: str = "uint8"
    zero_point: int = 0
    divide: bool = False
    factor: bool = False

    def __post_init__(self) -> None:
        if not self.real and self.q is None:
            raise ValueError("nothing is stored")
        if self.factor and self.q is None:
            raise ValueError("a factor without what it is for")

    def parameters(self, channels: int) -> dict[str, Any]:
        """Declare the constants, by name: factor[channels] and scale[1], those there are."""
        sizes = {"factor": channels} if self.factor else {}
        sizes |= {"scale": 1} if self.q is not None else {}
        return {
            name: tir.arg(name, tir.Buffer((size,), "float32")) for name, size in sizes.items()
        }

    def outputs(self, rows: int, channels: int) -> dict[str, Any]:
        """Declare the outputs, by name: y and q, those there are."""
        found = {}
        if self.real:
            found["y"] = tir.arg("y", tir.Buffer((rows * channels,), "float32"))
        if self.q is not None:
            found["q"] = tir.arg("q", tir.Buffer((self.q.size,), self.dtype))
        return found

    def store(
        self,
        buffers: dict[str, Any],
        row: Expr,
        first: Expr,
        channels: int,
        number: Expr,
        lanes: int,
    ) -> None:
        """Emit the end of a vector of a row.

        Args:
            buffers: All that was declared.
            row: Number of the row.
            first: First channel of the vector.
            channels: Of a row.
            number: float32[lanes].
            lanes: 1 for scalars.
        """
        number = kept(number)
        if self.real:
            tir.buffer_store(buffers["y"], number, [span(row * channels + first, lanes)])
        if self.q is None:
            return
        if self.factor:
            number = kept(number * buffers["factor"][span(first, lanes)])
        scale = buffers["scale"][0]
        stored = quantized(
            number, scale, self.dtype, self.zero_point, lanes, divide=self.divide
        )
        tir.buffer_store(buffers["q"], stored, [span(row * self.q.c_pad + first, lanes)])
