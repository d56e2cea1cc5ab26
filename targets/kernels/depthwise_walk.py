"""The walk of the depthwise kernel along a line: columns, dots, finished pixels."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import Registers, widened
from qcompile.targets.kernels.depthwise_parts import Place
from qcompile.targets.kernels.depthwise_window import QUAD, WindowTile
from qcompile.targets.kernels.epilogue import rescale, span
from qcompile.targets.kernels.interleave import interleave, restore
from qcompile.targets.kernels.reread import reread

if TYPE_CHECKING:
    from qcompile.targets.kernels.depthwise_conv import DepthwiseConv


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthwiseWalk:
    """One kernel while it is being emitted: what to compute, and its buffers.

    `r` and `scale` are the residual and its multiplier, or None.
    """

    conv: DepthwiseConv
    tile: WindowTile
    x: Any
    w: Any
    bias: Any
    multiplier: Any
    r: Any
    scale: Any
    y: Any

    def along(self, place: Place, length: int) -> None:
        """Compute neighbouring pixels: each step takes the columns that finish one more.

        The first and last steps, which have no loop, are told the number of their columns.
        """
        window = self.conv.window
        started = window.reached(length)
        count = self.tile.rows * started * QUAD
        acc = Sums(Registers(count, self.conv.isa.lanes), self.tile.rows)
        numbers = itertools.count()
        self._step(place, acc, started, range(window.last + 1), numbers)
        fresh = range(max(0, window.last + 1 - window.strides[1]), window.last + 1)
        if length > started:
            with tir.serial(length - started) as i:
                self._step(place.at(i + 1), acc, started, fresh)
        for pixel in range(length - started + 1, length):
            self._step(place.at(pixel), acc, length - pixel, fresh, numbers)

    def _step(
        self,
        place: Place,
        acc: Sums,
        started: int,
        columns: range,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """Take columns, counted from the first pixel's first one, and finish that pixel.

        `started` pixels from there on have sums; the next step's are those of one further.
        """
        for column in columns:
            readers = self.conv.window.readers(column, started)
            if readers:
                number = None if numbers is None else next(numbers)
                self._column(place, acc, column, readers, number)
        for row in range(self.tile.rows):
            self._store(place, row, [acc[row, 0, vector] for vector in range(QUAD)])
        acc.advance(started)

    def _column(
        self, place: Place, acc: Sums, column: int, readers: dict[int, int], number: int | None
    ) -> None:
        """Interleave a column's rows once, then do every dot that reads it: kw -> pixel."""
        isa, window, lanes = self.conv.isa, self.conv.window, self.conv.isa.lanes
        if 0 in readers:
            bias = self._read(self.bias, 3)
            for row in range(self.tile.rows):
                for vector in range(QUAD):
                    first = bias[span(place.packed + vector * lanes, lanes)]
                    acc[row, readers[0], vector] = first
        dots, size = window.dots(self.tile.rows), QUAD * isa.taps * lanes
        start = place.packed * isa.taps * len(dots) + self._zero(number)
        w = self._read(self.w)
        for group, rows in enumerate(window.groups(self.tile.rows)):
            packed = self._operands(place, column, rows)
            for index, dot in enumerate(dots):
                if dot.group != group or dot.kw not in readers:
                    continue
                weights = self._weights(w, start + index * size)
                for vector in range(QUAD):
                    where = dot.row, readers[dot.kw], vector
                    acc[where] = isa.lane_dot(acc[where], packed[vector], weights[vector])

    def _zero(self, number: int | None) -> Expr:
        """Return 0, for LLVM an unknown number and for each column another.

        So it reads the weights of a column beside its dots, even if another one nearby has the
        same weights. Inside a loop `reread` is enough.
        """
        if number is None or not self.conv.isa.dots_read:
            return 0
        return self.bias[self.conv.lanes + number]

    def _read(self, constants: Any, others: int | None = None) -> Any:
        """Return constants to read here: anew, where dots read or registers are scarce.

        With `others` they stay in registers, if beside the sums so many quads have room.
        """
        isa, quads = self.conv.isa, self.tile.rows * self.tile.pixels
        room = (isa.registers - isa.spare) // QUAD - quads
        kept = others is not None and others <= room
        return reread(constants) if isa.dots_read and not kept else constants

    def _weights(self, w: Any, start: Expr) -> list[Expr]:
        """Return the weight operands of a dot, one for each vector."""
        lanes, taps = self.conv.isa.lanes, self.conv.isa.taps
        if taps == 1:
            return widened(w, start, lanes, QUAD)
        size = taps * lanes
        return [w[span(start + vector * size, size)] for vector in range(QUAD)]

    def _operands(self, place: Place, column: int, rows: list[int]) -> list[Expr]:
        """Return the dot operands of a group of input rows, at one column."""
        conv, lanes = self.conv, self.conv.isa.lanes
        if conv.isa.taps == 1:
            starts = place.inputs(rows[0], column)
            return [e for s in starts for e in widened(self.x, s, lanes, place.parts.vectors)]
        loaded = [place.parts.load(self.x, place.inputs(row, column)) for row in rows]
        return interleave(loaded, lanes)

    def _store(self, place: Place, row: int, sums: list[Expr]) -> None:
        """Finish and store the first pixel of a row."""
        conv, lanes, parts = self.conv, self.conv.isa.lanes, place.parts
        residuals: list[Expr | None] = [None] * QUAD
        if conv.residual is not None:
            residuals = [*parts.residuals(self.r, place, row)]
        multiplier = self._read(self.multiplier, 2)
        results = [
            rescale(
                total,
                multiplier[span(place.packed + vector * lanes, lanes)],
                lanes=lanes,
                residual=residual,
                r_multiplier=None if residual is None else tir.broadcast(self.scale[0], lanes),
            )
            for vector, (total, residual) in enumerate(zip(sums, residuals, strict=True))
        ]
        parts.save(self.y, place, row, self._narrow(results))

    def _narrow(self, results: list[Expr]) -> Expr:
        isa, epilogue = self.conv.isa, self.conv.epilogue
        if isa.narrow_quad is not None and epilogue.dtype != "float32":
            return isa.narrow_quad(results, epilogue)
        return restore([epilogue.store(t, lanes=isa.lanes) for t in results], isa.lanes)


@dataclasses.dataclass(frozen=True)
class Sums:
    """The accumulators by (row, pixel, vector), pixels counted from the one finished next."""

    registers: Registers
    rows: int

    def __getitem__(self, at: tuple[int, int, int]) -> Expr:
        return self.registers[self._number(*at)]

    def __setitem__(self, at: tuple[int, int, int], value: Expr) -> None:
        self.registers[self._number(*at)] = value

    def advance(self, pixels: int) -> None:
        """Emit that the second of so many pixels becomes the first, and so on."""
        for pixel in range(1, pixels):
            for row in range(self.rows):
                for vector in range(QUAD):
                    self[row, pixel - 1, vector] = self[row, pixel, vector]

    def _number(self, row: int, pixel: int, vector: int) -> int:
        return (pixel * self.rows + row) * QUAD + vector
