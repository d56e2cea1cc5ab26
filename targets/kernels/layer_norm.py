"""LayerNormalization of float rows, with the QuantizeLinear behind it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.kept import kept, spread
from qcompile.targets.kernels.partial_sums import CHAINS, WIDTH, add, add_square, combined
from qcompile.targets.kernels.pixels import over_channels
from qcompile.targets.kernels.row_groups import RowGroups
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
        groups = RowGroups(self.rows, size, self.parallel)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("layer_norm")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.rows * size,), "float32"))
            gamma = tir.arg("gamma", tir.Buffer((size,), "float32"))
            beta = tir.arg("beta", tir.Buffer((size,), "float32")) if self.bias else None
            buffers = self.output.parameters(size)
            buffers |= self.output.outputs(self.rows, size)

            def group(_: Expr, start: Expr, rows: Expr) -> None:
                mean = tir.alloc_buffer((groups.together,), "float32", scope="global")
                steepness = tir.alloc_buffer((groups.together,), "float32", scope="global")

                def numbers(i: Expr, first: Expr, lanes: int) -> Expr:
                    return x[span((start + i) * size + first, lanes)]

                def centred(i: Expr, first: Expr, lanes: int) -> Expr:
                    return numbers(i, first, lanes) - spread(mean[i], lanes)

                count = tir.float32(size)
                with tir.serial(rows) as i:
                    total = combined(size, partial(numbers, i), add, 0.0, chains=CHAINS)
                    tir.buffer_store(mean, total / count, [i])
                with tir.serial(rows) as i:

                    def fetching(first: Expr, lanes: int, row: Expr = i) -> Expr:
                        groups.fetch_next(x, start + row, first)
                        return centred(row, first, lanes)

                    squares = combined(
                        size, fetching, add, 0.0, take=add_square, chains=CHAINS
                    )
                    variance = kept(squares / count)
                    root = tir.sqrt(variance + tir.float32(self.epsilon))
                    tir.buffer_store(steepness, tir.float32(1) / root, [i])
                with tir.serial(rows) as i:

                    def finish(first: Expr, lanes: int) -> None:
                        here = span(first, lanes)
                        even = kept(centred(i, first, lanes) * spread(steepness[i], lanes))
                        scaled = (
                            even * gamma[here]
                            if beta is None
                            else tir.fma(even, gamma[here], beta[here])
                        )
                        self.output.store(buffers, start + i, first, size, scaled, lanes)

                    over_channels(size, WIDTH, finish)

            groups.each(group)
        return builder.get()
