"""The sums of a dense tile: runs of neighbouring input channels, steps, dots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.blocks import Registers, load_of, power_of_two
from qcompile.targets.kernels.dense_store import Block, Pixel, Position

if TYPE_CHECKING:
    from qcompile.targets.kernels.dense_conv import DenseConv

LINE = 64
"""Bytes of a cache line."""

AT_ONCE = 8
"""Lines of the next block that a tile asks for before its loop; more are spread over it."""

AHEAD = 2048
"""Bytes of weights by which the second-level cache is asked before they are needed."""


@dataclasses.dataclass(frozen=True)
class Area:
    """The output pixels of a tile: neighbours of a line, on neighbouring lines."""

    lines: int
    pixels: int

    @property
    def size(self) -> int:
        """Pixels of all lines."""
        return self.lines * self.pixels

    def pixel(self, p: int) -> Pixel:
        """Return where the p-th of its pixels lies."""
        return p // self.pixels, p % self.pixels


At = Callable[[int, int, int, int], int]
"""The number of an accumulator: (pixel, vector, register of it, chain)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseSteps:
    """What adds the products of a tile to its accumulators.

    The window's input is some runs of neighbours in memory, each as long for every pixel: a
    tap's channels or, where the taps of a line follow each other without a gap, those of the
    whole line.

    Attributes:
        conv: The kernel.
        x: Its input.
        w: Its weights.
        area: The pixels of the tile.
        chains: Accumulators of each sum, which take turns.
        tiles: Tiles that share a block's weights, one after the other.
        again: Whether the first block comes after the last, for other tiles.
    """

    conv: DenseConv
    x: Any
    w: Any
    area: Area
    chains: int
    tiles: int
    again: bool

    def accumulate(
        self, block: Block, position: Position, acc: Registers, at: At, number: Expr
    ) -> None:
        """Add all products.

        Args:
            block: The output channels.
            position: The tile.
            acc: The accumulators.
            at: Where each lies.
            number: The number of the tile among those that share the block's weights.
        """
        conv = self.conv
        runs, length = self.runs()
        unrolled = max(self.chains, min(conv.isa.groups, power_of_two(length)))
        whole = length // unrolled
        lines = -(-block.vectors * conv.vector_weights // (LINE * self.tiles))
        spread = conv.isa.prefetches and lines > AT_ONCE
        if conv.isa.prefetches and not spread:
            self._next_block(block, position, number * lines, lines)
        bodies = runs * whole
        with tir.serial(runs) as run:
            with tir.serial(whole) as k:
                self._body(block, position, run, k * unrolled, unrolled, acc, at)
                if spread:
                    first = number * lines + (run * whole + k) * lines // bodies
                    self._next_block(block, position, first, -(-lines // bodies))
            if length % unrolled:
                self._body(block, position, run, whole * unrolled, length % unrolled, acc, at)

    def runs(self) -> tuple[int, int]:
        """Return how many runs there are, and the steps of each."""
        steps = self.conv.k_steps(self.conv.width)
        if self._merged():
            return self.conv.kernel[0], self.conv.kernel[1] * steps
        return self.conv.taps, steps

    def _merged(self) -> bool:
        """Whether the taps of a line follow each other without a gap."""
        conv = self.conv
        x, _, _ = conv.views()
        dense = conv.k_steps(conv.width) * conv.isa.k_group == x.c_pad
        return dense and conv.dilations[1] == 1 and conv.group == 1

    def _next_block(self, block: Block, position: Position, line: Expr, count: int) -> None:
        """Ask for lines of the next block's weights: each tile for its share of them."""
        conv = self.conv
        following = block.first + block.vectors
        if self.again:
            following = following % conv.vectors
        first = conv.entry(position.n) * conv.entry_weights
        first = first + following * conv.vector_weights + line * LINE
        for i in range(count):
            self._fetch(first + i * LINE, level=2)

    def _fetch(self, index: Expr, level: int) -> None:
        """Have weights brought to a cache level; an address that is none does no harm."""
        tir.evaluate(
            tir.call_llvm_intrin(
                "void",
                "llvm.prefetch",
                tir.address_of(self.w[index]),
                tir.int32(0),
                tir.int32(4 - level),
                tir.int32(1),
            )
        )

    def _body(
        self,
        block: Block,
        position: Position,
        run: Expr,
        k: Expr,
        count: int,
        acc: Registers,
        at: At,
    ) -> None:
        """Do `count` steps of a run from step k on."""
        conv, isa = self.conv, self.conv.isa
        x, _, _ = conv.views()
        pitch = x.stored_w * x.c_pad
        kh, kw = (run, 0) if self._merged() else (run // conv.kernel[1], run % conv.kernel[1])
        begin = conv.source(
            position.n,
            position.h * conv.strides[0] + kh * conv.dilations[0] - conv.pads[0],
            position.w * conv.strides[1] + kw * conv.dilations[1] - conv.pads[1],
            block.base + k * isa.k_group,
        )
        _, length = self.runs()
        step_weights = block.vectors * isa.lanes * isa.k_group
        first = conv.entry(position.n) * conv.entry_weights
        first = first + block.first * conv.vector_weights + (run * length + k) * step_weights
        register = isa.lanes // isa.rows * isa.k_group
        for step in range(count):
            ahead, group, together = load_of(step, count, isa.groups)
            weights = first + step * step_weights
            if isa.prefetches:
                for line in range(0, step_weights, LINE):
                    self._fetch(weights + AHEAD + line, level=1)
            for p, v in self._order(block):
                pixels = []
                for row in range(isa.rows):
                    line, column = self.area.pixel(min(p + row, self.area.size - 1))
                    offset = line * conv.strides[0] * pitch
                    offset += column * conv.strides[1] * x.c_pad + ahead * isa.k_group
                    pixels.append(begin + offset)
                a = isa.activations(self.x, pixels, group, together)
                for i in range(isa.rows):
                    load, number, loaded = load_of(
                        v * isa.rows + i, block.vectors * isa.rows, isa.fetched
                    )
                    b = isa.weights(self.w, weights + load * register, number, loaded)
                    place = at(p, v, i, step % self.chains)
                    acc[place] = isa.dot(acc[place], a, b)

    def _order(self, block: Block) -> list[tuple[int, int]]:
        """Return the dots so that the fewer operands stay in registers."""
        pixels, vectors = range(0, self.area.size, self.conv.isa.rows), range(block.vectors)
        if len(vectors) <= len(pixels):
            return [(p, v) for p in pixels for v in vectors]
        return [(p, v) for v in vectors for p in pixels]
