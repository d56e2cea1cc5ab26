"""A float convolution or matrix product with a constant right side, as one direct kernel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.float_loops import Block, FloatLoops
from qcompile.targets.kernels.packing import Pair, require_window
from qcompile.targets.layout import Halo, Layout, round_up
from qcompile.targets.tiles import Tile, Work, tiles

F32 = npt.NDArray[np.float32]

NUMBER = 4
"""Bytes of a float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatConv:
    """`func(x, weights, bias, r, y)`: y = end(bias + sum(x * weight), r), all float32.

    A number is one chain of fused multiply-adds that begins with the bias, or with 0 where
    `late` adds the bias to the sum as an Add would, taps in row-major
    order and of each the input channels in theirs: the same bits on every instruction set,
    with any tile and any number of threads. It differs from the exact sum by at most K units
    of rounding of the sum of the products' magnitudes, for K products.

    Output channels are computed in blocks of `tile.vectors` vectors, output pixels in tiles of
    `tile.pixels` neighbours of a line, as in DenseConv; a matrix product is a 1x1 kernel over
    rows. Channels that are only padding are never read: they hold anything, NaN too.

    Attributes:
        x: Input; its halo covers the pads and holds zeros.
        y: Output.
        isa: The instruction set: its vectors.
        kernel: Height and width.
        strides: Of the window, down and right.
        dilations: Distance of neighbouring taps.
        pads: Top and left.
        group: Groups of channels, as in ONNX.
        bias: Whether there is one.
        late: Whether it comes after the products.
        residual: Layout of the tensor r, if any is added.
        end: What becomes of a sum.
        tile: Tile sizes; None takes those that the cost model prefers.
        parallel: Whether the threads of the pool share the work.
    """

    x: Layout
    y: Layout
    isa: Isa
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pair = (0, 0)
    group: int = 1
    bias: bool = True
    late: bool = False
    residual: Layout | None = None
    end: FloatEnd = dataclasses.field(default_factory=FloatEnd)
    tile: Tile | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.x.c % self.group or self.y.c % self.group:
            raise ValueError(f"{self.x.c} and {self.y.c} channels in {self.group} groups")
        require_window(self.x, self.y, self.kernel, self.strides, self.dilations, self.pads)
        if self.tile is None:
            object.__setattr__(self, "tile", self.tile_choices()[0])

    @property
    def depth(self) -> int:
        """Input channels of a group."""
        return self.x.c // self.group

    @property
    def outputs(self) -> int:
        """Output channels of a group."""
        return self.y.c // self.group

    @property
    def vectors(self) -> int:
        """Vectors of a group's output channels."""
        return -(-self.outputs // self.isa.lanes)

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return math.prod(self.kernel)

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.y.n * self.y.h * self.y.w * self.y.c * self.depth * self.taps

    def tile_choices(self) -> list[Tile]:
        """Return the tiles that fit, the most promising first."""
        found = tiles(self.work(), dataclasses.replace(self.isa, rows=1, groups=1, joined=1))
        if not self.heavy:
            return found
        _, y, _ = self.views()
        total = [y.n * y.h * -(-y.w // tile.pixels) for tile in found]
        return [
            dataclasses.replace(tile, chunk=count)
            for tile, count in zip(found, total, strict=True)
        ]

    def work(self) -> Work:
        """Return what the cost model needs to know of this kernel."""
        x, y, _ = self.views()
        return Work(
            lines=y.n * y.h,
            pixels=y.w,
            vectors=self.vectors,
            taps=self.taps,
            k_steps=(self.depth,) * self.vectors,
            line_bytes=self.strides[0] * x.stored_w * x.c_pad * NUMBER,
        )

    @property
    def heavy(self) -> bool:
        """Whether weights fill the cache and exceed the input: they should pass by once.

        Then all pixels are one chunk, and threads share the blocks of channels.
        """
        size = self.weight_size * NUMBER
        return size > max(self.isa.l2_bytes // 2, self.x_size * NUMBER)

    def pack(self, weight: F32, bias: F32 | None) -> list[F32]:
        """Return weights and, if there is one, the bias as the kernel takes them.

        Args:
            weight: [O, C/group, kh, kw].
            bias: [O], or None for zeros.
        """
        lanes, parts = self.isa.lanes, []
        taken = np.zeros(self.y.c, np.float32) if bias is None else bias
        starts = [channel for block in self.blocks() for channel in block.channels]
        biases = np.zeros((self.group, len(starts), lanes), np.float32)
        groups = weight.reshape(self.group, self.outputs, self.depth, self.taps)
        for g, matrix in enumerate(groups):
            for block in self.blocks():
                part = np.zeros(
                    (self.taps, self.depth, len(block.channels), lanes), np.float32
                )
                for v, start in enumerate(block.channels):
                    rows = matrix[start : start + lanes]
                    part[:, :, v, : len(rows)] = rows.transpose(2, 1, 0)
                parts.append(part.ravel())
            for v, start in enumerate(starts):
                own = taken[g * self.outputs :][: self.outputs][start : start + lanes]
                biases[g, v, : len(own)] = own
        return [np.concatenate(parts), *([biases.reshape(-1)] if self.bias else [])]

    def func(self) -> Any:
        """Return the PrimFunc."""
        _, y, r = self.views()
        size = self.group * self.vectors * self.isa.lanes
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("float_conv")
            loops = FloatLoops(
                self,
                tir.arg("x", tir.Buffer((self.x_size,), "float32")),
                tir.arg("w", tir.Buffer((self.weight_size,), "float32")),
                tir.arg("bias", tir.Buffer((size,), "float32")) if self.bias else None,
                tir.arg("r", tir.Buffer((r.size,), "float32")) if r else None,
                tir.arg("y", tir.Buffer((y.size,), "float32")),
            )
            tir.func_attr({"tirx.noalias": True})
            loops.emit()
        return builder.get()

    def blocks(self) -> list[Block]:
        """Return the blocks of a group."""
        assert self.tile is not None
        width, lanes = self.tile.vectors, self.isa.lanes
        last = self.outputs - lanes if self.overlaps else math.inf
        return [
            Block(
                first,
                tuple(
                    int(min(v * lanes, last))
                    for v in range(first, min(first + width, self.vectors))
                ),
            )
            for first in range(0, self.vectors, width)
        ]

    @property
    def overlaps(self) -> bool:
        """Whether a group's last vector overlaps the one before it."""
        return self.outputs > self.isa.lanes and not self.whole and not self.even

    @property
    def room(self) -> int:
        """Lanes of a vector that may be written."""
        return min(self.isa.lanes, self.outputs) if not self.whole else self.isa.lanes

    @property
    def even(self) -> bool:
        """Whether a group's channels are whole vectors."""
        return self.outputs % self.isa.lanes == 0

    @property
    def whole(self) -> bool:
        """Whether the memory behind the last channel is padding up to the vector's end."""
        stored = [layout.c_pad for layout in (self.y, self.residual) if layout is not None]
        return self.group == 1 and min(stored) >= round_up(self.outputs, self.isa.lanes)

    @property
    def x_size(self) -> int:
        """Elements of the input's memory."""
        return self.views()[0].size

    @property
    def weight_size(self) -> int:
        """Elements of the weights' memory."""
        return self.group * self.vectors * self.vector_weights

    @property
    def vector_weights(self) -> int:
        """Weights of one vector of output channels."""
        return self.taps * self.depth * self.isa.lanes

    def source(self, n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        """Return where an element of the input lies."""
        return self.views()[0].at(n, h, w, c)

    def weight(self, n: Expr, g: Expr, block: Block, v: int, step: Expr) -> Expr:
        """Return where a vector of weights lies: of an image, a group and a step."""
        start = (g * self.vectors + block.first) * self.vector_weights
        return start + (step * len(block.channels) + v) * self.isa.lanes

    @property
    def weight_room(self) -> int:
        """Lanes of a vector of weights that may be read."""
        return self.isa.lanes

    def views(self) -> tuple[Layout, Layout, Layout | None]:
        """Return the layouts, flattened to one line where all pixels lie in a row."""
        layouts = [self.x, self.y, *([self.residual] if self.residual else [])]
        pointwise = self.kernel == self.strides == (1, 1)
        if not pointwise or any(layout.halo != Halo() for layout in layouts):
            return self.x, self.y, self.residual
        flat = [
            dataclasses.replace(layout, n=1, h=1, w=layout.n * layout.h * layout.w)
            for layout in layouts
        ]
        return flat[0], flat[1], flat[2] if self.residual else None
