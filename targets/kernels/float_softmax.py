"""Softmax of float rows, with the mask before it and the QuantizeLinear behind it."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.float_functions import exp_below
from qcompile.targets.kernels.kept import kept, spread
from qcompile.targets.kernels.partial_sums import CHAINS, WIDTH, add, combined, greater
from qcompile.targets.kernels.pixels import over_channels
from qcompile.targets.kernels.row_groups import RowGroups
from qcompile.targets.kernels.row_output import RowOutput
from qcompile.targets.kernels.strided import Spot
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import round_up


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
        groups = RowGroups(self.rows, self.channels, self.parallel)
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
            room = round_up(self.channels, WIDTH)
            size = groups.chunks * groups.together * room
            own = tir.alloc_buffer((size,), "float32", scope="global")

            def group(chunk: Expr, first: Expr, count: Expr) -> None:
                number = tir.alloc_buffer((groups.together,), "float32", scope="global")
                base = chunk * groups.together

                def masked(i: Expr, place: Expr, lanes: int) -> Expr:
                    t = x[span((first + i) * self.channels + place, lanes)]
                    return kept(
                        t if mask is None else t + self._mask(mask, first + i, place, lanes)
                    )

                def exponential(i: Expr, place: Expr, lanes: int) -> Expr:
                    groups.fetch_next(x, first + i, place)
                    e = exp_below(masked(i, place, lanes) - spread(number[i], lanes), lanes)
                    tir.buffer_store(own, e, [span((base + i) * room + place, lanes)])
                    return e

                def finish(i: Expr, place: Expr, lanes: int) -> None:
                    e = own[span((base + i) * room + place, lanes)]
                    share = e * spread(number[i], lanes)
                    self.output.store(buffers, first + i, place, self.channels, share, lanes)

                with tir.serial(count) as i:
                    values = partial(masked, i)
                    greatest = combined(
                        self.channels, values, greater, -math.inf, chains=CHAINS
                    )
                    tir.buffer_store(number, greatest, [i])
                with tir.serial(count) as i:
                    total = combined(self.channels, partial(exponential, i), add, 0.0)
                    tir.buffer_store(number, tir.float32(1) / total, [i])
                with tir.serial(count) as i:
                    over_channels(self.channels, WIDTH, partial(finish, i))

            groups.each(group)
        return builder.get()

    def _mask(self, mask: Any, row: Expr, first: Expr, lanes: int) -> Expr:
        """Return what is added to the numbers of a row."""
        assert self.mask is not None
        stride = self.mask.strides[-1]
        line = dataclasses.replace(
            self.mask, shape=self.mask.shape[:-1], strides=self.mask.strides[:-1]
        )
        return Spot(line.at(row) + first * stride, stride, lanes).load(mask)
