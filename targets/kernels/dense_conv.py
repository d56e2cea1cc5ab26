"""Every convolution and matrix product, as one direct kernel over packed weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.dense_loops import DenseLoops
from qcompile.targets.kernels.dense_store import Block
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.packing import Pair, fold_zero_point, padded, require_window
from qcompile.targets.layout import Layout
from qcompile.targets.tiles import WIDEST, Tile, Work, tiles

Packed = tuple[
    npt.NDArray[np.int8], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]
]
"""Weights, base, bias and multiplier, as the kernel takes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseConv:
    """A convolution or a matrix product: kernel 1x1, a pixel for each row.

    Output channels are computed in blocks of `tile.vectors` vectors, output pixels in tiles
    of `tile.pixels` neighbours of a line; the accumulators of a tile stay in registers. A
    block reads `k_steps * k_group` input channels from `base` on: all of them, or those of
    its channels' groups; a channel of another group meets a weight of zero. The last tile of
    a line overlaps the one before it.

    Buffers, all flat: x, weights int8, base int32, bias int32, multiplier float32, with a
    residual r and, if it has 8 bits, r_multiplier float32[1], with an addend float32, y.
    `pack` makes the four constants.

    Attributes:
        x: Input; its halo covers the pads.
        y: Output; channels from c on are not written where c_pad ends inside a vector.
        kernel: Height and width.
        strides: Of the window, down and right.
        dilations: Distance of neighbouring taps.
        pads: Top and left; the other two follow from the sizes.
        group: Groups of channels, as in ONNX.
        isa: The instruction set.
        epilogue: From accumulator to output.
        residual: Layout of a tensor that is added, if any.
        r_dtype: Its type; a float32 has neither zero point nor multiplier.
        r_zero_point: Its zero point.
        addend: Whether t is `fma(float32(acc), multiplier, addend)`, a number a channel.
        tile: Tile sizes; None takes those that the cost model prefers.
        parallel: Whether the threads of the pool share the work.
    """

    x: Layout
    y: Layout
    isa: Isa
    epilogue: Epilogue
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pair = (0, 0)
    group: int = 1
    residual: Layout | None = None
    r_dtype: str = "uint8"
    r_zero_point: int = 0
    addend: bool = False
    tile: Tile | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.x.c % self.group or self.y.c % self.group:
            raise ValueError(f"{self.x.c} and {self.y.c} channels in {self.group} groups")
        if self.x.c_pad % self.isa.k_group:
            raise ValueError(
                f"input channels must be padded to a multiple of {self.isa.k_group}, "
                f"got {self.x.c_pad}"
            )
        if self.addend and self.residual is not None:
            raise ValueError("a residual and an addend are one too many")
        require_window(self.x, self.y, self.kernel, self.strides, self.dilations, self.pads)
        if self.tile is None:
            object.__setattr__(self, "tile", self.tile_choices()[0])

    @property
    def vectors(self) -> int:
        """Vectors of output channels."""
        return -(-self.y.c // self.isa.lanes)

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return math.prod(self.kernel)

    @property
    def width(self) -> int:
        """Vectors of a block."""
        assert self.tile is not None
        return self.tile.vectors

    def tile_choices(self) -> list[Tile]:
        """Return the tiles that fit, the most promising first."""
        return tiles(self.work(), self.isa)

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        pixels = self.y.n * self.y.h * self.y.w
        return pixels * self.y.c * self.x.c // self.group * self.taps

    def work(self) -> Work:
        """Return what the cost model needs to know of this kernel."""
        x, y, _ = self.views()
        widest = min(WIDEST, self.vectors)
        return Work(
            lines=y.n * y.h,
            height=y.h,
            pixels=y.w,
            vectors=self.vectors,
            taps=self.taps,
            k_steps=tuple(self.k_steps(width) for width in range(1, widest + 1)),
            line_bytes=self.strides[0] * x.stored_w * x.c_pad,
        )

    def k_steps(self, width: int) -> int:
        """Steps of k_group input channels for one tap, with blocks of so many vectors."""
        windows = [self._window(first, width) for first in range(0, self.vectors, width)]
        return max(-(-(end - start) // self.isa.k_group) for start, end in windows)

    def blocks(self) -> list[Block]:
        """Return the blocks of output channels; only the last may be narrower."""
        last = self.x.c_pad - self.k_steps(self.width) * self.isa.k_group
        return [
            Block(
                first=first,
                vectors=min(self.width, self.vectors - first),
                base=min(self._window(first, self.width)[0], last),
            )
            for first in range(0, self.vectors, self.width)
        ]

    def pack(
        self,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.integer],
        multiplier: npt.NDArray[np.float32],
        x_zero_point: int,
    ) -> Packed:
        """Return the constants as the kernel takes them.

        Args:
            weight: int8[O, C/group, kh, kw].
            bias: [O]; the zero point's share, `-x_zero_point * sum(w)`, is folded in.
            multiplier: float32[O].
            x_zero_point: Of the input.
        """
        outputs, depth = weight.shape[0], weight.shape[1]
        lanes, k_group, steps = self.isa.lanes, self.isa.k_group, self.k_steps(self.width)
        taps = self.taps
        by_tap = weight.reshape(outputs, depth, taps).transpose(0, 2, 1)
        parts = []
        for block in self.blocks():
            part = np.zeros((block.vectors * lanes, taps, steps * k_group), np.int8)
            first = block.first * lanes
            for o in range(first, min(first + len(part), outputs)):
                start = o // (outputs // self.group) * depth - block.base
                part[o - first, :, start : start + depth] = by_tap[o]
            part = part.reshape(block.vectors, lanes, taps, steps, k_group)
            parts.append(part.transpose(2, 3, 0, 1, 4).ravel())
        base = np.array([block.base for block in self.blocks()], np.int32)
        size = self.vectors * lanes
        folded = fold_zero_point(weight, bias, x_zero_point)
        return np.concatenate(parts), base, padded(folded, size), padded(multiplier, size)

    def func(self) -> Any:
        """Return the PrimFunc."""
        _, y, r = self.views()
        channels = self.vectors * self.isa.lanes
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("main")
            loops = DenseLoops(
                conv=self,
                x=tir.arg("x", tir.Buffer((self.x_size,), self.isa.activation)),
                w=tir.arg("w", tir.Buffer((self.entries * self.entry_weights,), "int8")),
                base=tir.arg("base", tir.Buffer((len(self.blocks()),), "int32")),
                bias=tir.arg("bias", tir.Buffer((self.entries * channels,), "int32")),
                multiplier=tir.arg("multiplier", tir.Buffer((channels,), "float32")),
                r=tir.arg("r", tir.Buffer((r.size,), self.r_dtype)) if r else None,
                scale=tir.arg("r_multiplier", tir.Buffer((1,), "float32"))
                if r and self.r_dtype != "float32"
                else None,
                addend=tir.arg("addend", tir.Buffer((channels,), "float32"))
                if self.addend
                else None,
                rows=tir.arg("rows", tir.Buffer((self.row_sums,), "int32"))
                if self.row_sums
                else None,
                y=tir.arg("y", tir.Buffer((y.size,), self.epilogue.dtype)),
            )
            tir.func_attr({"tirx.noalias": True})
            loops.emit()
        return builder.get()

    @property
    def vector_weights(self) -> int:
        """Weights of one vector of output channels."""
        return self.taps * self.k_steps(self.width) * self.isa.lanes * self.isa.k_group

    @property
    def x_size(self) -> int:
        """Elements of the input's memory."""
        return self.views()[0].size

    @property
    def entries(self) -> int:
        """How many weights there are, each with its bias."""
        return 1

    @property
    def entry_weights(self) -> int:
        """Weights of all output channels."""
        return self.vectors * self.vector_weights

    @property
    def row_sums(self) -> int:
        """How many int32 numbers there are to add to all sums of a pixel, if any."""
        return 0

    def source(self, n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        """Return where an element of the input lies."""
        return self.views()[0].at(n, h, w, c)

    def entry(self, n: Expr) -> Expr:
        """Return which weights an image is multiplied by."""
        return 0

    def row(self, n: Expr, w: Expr) -> Expr:
        """Return which of the row sums is a pixel's."""
        raise NotImplementedError

    def views(self) -> tuple[Layout, Layout, Layout | None]:
        """Return the layouts, flattened to one line where all pixels lie in a row."""
        layouts = [self.x, self.y, *([self.residual] if self.residual else [])]
        pointwise = self.kernel == self.strides == (1, 1)
        if not pointwise or not all(layout.flat for layout in layouts):
            return self.x, self.y, self.residual
        flat = [
            dataclasses.replace(layout, n=1, h=1, w=layout.n * layout.h * layout.w)
            for layout in layouts
        ]
        return flat[0], flat[1], flat[2] if self.residual else None

    def _window(self, first: int, vectors: int) -> Pair:
        """Return the range of input channels that a block's groups read."""
        outputs, inputs = self.y.c // self.group, self.x.c // self.group
        start = first * self.isa.lanes // outputs
        end = (min((first + vectors) * self.isa.lanes, self.y.c) - 1) // outputs + 1
        return start * inputs, end * inputs
