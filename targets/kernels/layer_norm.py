"""LayerNormalization of float rows, with the QuantizeLinear behind it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.kept import kept, spread
from qcompile.targets.kernels.partial_sums import WIDTH, add, add_square, combined
from qcompile.targets.kernels.pixels import over_channels
from qcompile.targets.kernels.row_output import RowOutput


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """`func(x, gamma, beta?, factor?, scale?, y?, q?)`: every row to mean 0, variance 1.

    mean = sum(x) / n        variance = sum((x - mean)**2) / n
    y = fma((x - mean) * (1 / sqrt(variance + epsilon)), gamma, beta)

    in float32. Sums are those of `partial_sums`, squares are added by fma, so that every
    instruction set gives the same bits.

    Attributes:
        rows: How many.
        channels: n, the numbers of a row; rows follow each other without a gap.
        epsilon: Added to the variance.
        bias: Whether there is a beta; else y is the product.
        output: What is stored.
        lanes: 32-bit lanes of a vector register; the answer does not depend on it.
        parallel: Whether threads share the rows.
    """

    rows: int
    channels: int
    epsilon: float
    bias: bool = True
    output: RowOutput = dataclasses.field(default_factory=RowOutput)
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        size = self.channels
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("layer_norm")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.rows * size,), "float32"))
            gamma = tir.arg("gamma", tir.Buffer((size,), "float32"))
            beta = tir.arg("beta", tir.Buffer((size,), "float32")) if self.bias else None
            buffers = self.output.parameters(size)
            buffers |= self.output.outputs(self.rows, size)
            with (tir.parallel if self.parallel else tir.serial)(self.rows) as row:

                def numbers(first: Expr, lanes: int) -> Expr:
                    return x[span(row * size + first, lanes)]

                count = tir.float32(size)
                mean = kept(combined(size, numbers, add, 0.0) / count)

                def centred(first: Expr, lanes: int) -> Expr:
                    return numbers(first, lanes) - spread(mean, lanes)

                squares = combined(size, centred, add, 0.0, take=add_square)
                variance = kept(squares / count)
                root = tir.sqrt(variance + tir.float32(self.epsilon))
                steepness = kept(tir.float32(1) / root)

                def finish(first: Expr, lanes: int) -> None:
                    here = span(first, lanes)
                    even = kept(centred(first, lanes) * spread(steepness, lanes))
                    scaled = (
                        even * gamma[here]
                        if beta is None
                        else tir.fma(even, gamma[here], beta[here])
                    )
                    self.output.store(buffers, row, first, size, scaled, lanes)

                over_channels(size, WIDTH, finish)
        return builder.get()
