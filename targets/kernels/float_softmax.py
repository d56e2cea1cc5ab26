"""Softmax of float rows, with the mask before it and the QuantizeLinear behind it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.float_functions import exp_below
from qcompile.targets.kernels.kept import kept, spread
from qcompile.targets.kernels.partial_sums import WIDTH, add, combined, greater
from qcompile.targets.kernels.pixels import over_channels
from qcompile.targets.kernels.row_output import RowOutput
from qcompile.targets.kernels.strided import Spot
from qcompile.targets.kernels.view import View

CHUNKS = 16
"""Pieces that parallel work is cut into; each has a row of memory for itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatSoftmax:
    """`func(x, mask?, scale?, y?, q?)`: the shares of the exponentials of every row.

    t = x + mask        e = exp(t - max(t))        y = e * (1 / sum(e))

    in float32. The sum is that of `partial_sums`, exp that of `float_functions`, so that
    every instruction set gives the same bits. A share is within n / 32 + 8 units of its last
    place, a unit more for each unit of t - max(t): what these lose by being rounded.

    Attributes:
        rows: How many.
        channels: n, the numbers of a row; rows follow each other without a gap.
        mask: A tensor that is added first, seen as [rows, n], if there is one.
        output: What is stored.
        lanes: 32-bit lanes of a vector register; the answer does not depend on it.
        parallel: Whether threads share the rows.
    """

    rows: int
    channels: int
    mask: View | None = None
    output: RowOutput = dataclasses.field(default_factory=RowOutput)
    lanes: int = 16
    parallel: bool = False

    def func(self) -> Any:
        """Return the PrimFunc."""
        chunks = min(CHUNKS, self.rows) if self.parallel else 1
        most = -(-self.rows // chunks)
        with IRBuilder() as builder, tir.prim_func(s_tir=True):
            tir.func_name("float_softmax")
            tir.func_attr({"tirx.noalias": True})
            x = tir.arg("x", tir.Buffer((self.rows * self.channels,), "float32"))
            mask = (
                tir.arg("mask", tir.Buffer((self.mask.layout.size,), "float32"))
                if self.mask is not None
                else None
            )
            buffers = self.output.parameters(self.channels)
            buffers |= self.output.outputs(self.rows, self.channels)
            own = tir.alloc_buffer((chunks * self.channels,), "float32", scope="global")
            with (
                (tir.parallel if self.parallel else tir.serial)(chunks) as chunk,
                tir.serial(tir.min(most, self.rows - chunk * most)) as i,
            ):
                row = tir.bind(chunk * most + i)
                self._row(x, mask, own, chunk * self.channels, row, buffers)
        return builder.get()

    def _row(
        self, x: Any, mask: Any, own: Any, start: Expr, row: Expr, buffers: dict[str, Any]
    ) -> None:
        """Emit one row; its exponentials lie in `own` from `start` on."""
        size = self.channels

        def masked(first: Expr, lanes: int) -> Expr:
            number = x[span(row * size + first, lanes)]
            if self.mask is None:
                return number
            stride = self.mask.strides[-1]
            line = dataclasses.replace(
                self.mask, shape=self.mask.shape[:-1], strides=self.mask.strides[:-1]
            )
            place = Spot(line.at(row) + first * stride, stride, lanes)
            return kept(number + place.load(mask))

        greatest = combined(size, masked, greater, -float("inf"))

        def exponentials(first: Expr, lanes: int) -> Expr:
            below = masked(first, lanes) - spread(greatest, lanes)
            e = exp_below(kept(below), lanes)
            tir.buffer_store(own, e, [span(start + first, lanes)])
            return e

        total = combined(size, exponentials, add, 0.0)
        share = kept(tir.float32(1) / total)

        def finish(first: Expr, lanes: int) -> None:
            e = own[span(start + first, lanes)]
            self.output.store(buffers, row, first, size, e * spread(share, lanes), lanes)

        over_channels(size, WIDTH, finish)
