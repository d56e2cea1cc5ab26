"""Depthwise convolution: one filter a channel, several rows of a column in one dot."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Isa
from qcompile.targets.kernels.depthwise_loops import DepthwiseLoops
from qcompile.targets.kernels.depthwise_walk import DepthwiseWalk
from qcompile.targets.kernels.depthwise_window import (
    QUAD,
    Window,
    WindowTile,
    window_tiles,
)
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.kernels.interleave import channel_order
from qcompile.targets.kernels.packing import Pair, fold_zero_point, padded, require_window
from qcompile.targets.layout import Layout

Packed = tuple[npt.NDArray[np.int8], npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Weights, bias and multiplier, as the kernel takes them."""


@dataclasses.dataclass(frozen=True)
class Strip:
    """Neighbouring channels that are computed together.

    Attributes:
        channel: The first one.
        vectors: 4 for the channels of a register of bytes, or 2 or 1: then the register takes
            several pixels.
    """

    channel: int
    vectors: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthwiseConv:
    """A convolution with as many groups as input and output channels.

    Four input rows of a column are interleaved, so that a dword of a vector holds one channel
    of them and one dot instruction does up to four taps; output rows of a tile share the
    operands, each with weights that are zero where a row is not its own. Where the set's dot
    has a single tap, rows stay as they are. A tile is a few output rows and pixels; its
    accumulators stay in registers.

    Buffers, all flat: x, weights int8, bias int32, multiplier float32, with a residual r and
    r_multiplier float32[1], y. `pack` makes the three constants.

    Attributes:
        x: Input; its halo covers the pads, its channels are padded to vectors.
        y: Output.
        isa: The instruction set.
        epilogue: From accumulator to output.
        kernel: Height and width.
        strides: Of the window, down and right.
        dilations: Distance of neighbouring taps.
        pads: Top and left; the other two follow from the sizes.
        residual: Layout of a tensor that is added, if any.
        r_dtype: Its type.
        r_zero_point: Its zero point.
        tile: Tile sizes; None takes those that the cost model prefers.
        parallel: Whether the threads of the pool share the output rows.
    """

    x: Layout
    y: Layout
    isa: Isa
    epilogue: Epilogue
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pair = (0, 0)
    residual: Layout | None = None
    r_dtype: str = "uint8"
    r_zero_point: int = 0
    tile: WindowTile | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.x.c != self.y.c:
            raise ValueError(f"{self.x.c} channels in, {self.y.c} out")
        if self.x.c_pad < self.vectors * self.isa.lanes:
            raise ValueError(
                f"input channels must be padded to {self.vectors * self.isa.lanes}, "
                f"got {self.x.c_pad}"
            )
        require_window(self.x, self.y, self.kernel, self.strides, self.dilations, self.pads)
        if self.tile is None:
            object.__setattr__(self, "tile", self.tile_choices()[0])

    @property
    def vectors(self) -> int:
        """Vectors of channels."""
        return -(-self.y.c // self.isa.lanes)

    @property
    def window(self) -> Window:
        """Return the shape of the window."""
        return Window(
            kernel=self.kernel,
            strides=self.strides,
            dilations=self.dilations,
            taps=self.isa.taps,
            weight_cost=self.isa.weight_cost,
        )

    def tile_choices(self) -> list[WindowTile]:
        """Return the tiles that fit, the most promising first."""
        room = self.isa.registers - self.isa.spare
        return window_tiles(self.window, (self.y.h, self.y.w), room)

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.y.n * self.y.h * self.y.w * self.y.c * self.kernel[0] * self.kernel[1]

    def strips(self) -> list[Strip]:
        """Return the strips: quads, then what is left.

        Of three vectors that are left the last quad overlaps the one before. Where output or
        residual end inside a vector, that vector stands alone.
        """
        lanes = self.isa.lanes
        layouts = [self.y, *([self.residual] if self.residual else [])]
        whole = min(self.vectors, *(layout.c_pad // lanes for layout in layouts))
        quads, left = divmod(whole, QUAD)
        strips = [Strip(q * QUAD * lanes, QUAD) for q in range(quads)]
        first = quads * QUAD
        if left == QUAD - 1 and quads:
            strips.append(Strip((whole - QUAD) * lanes, QUAD))
            first = whole
        while first < self.vectors:
            vectors = 2 if first + 2 <= whole else 1
            strips.append(Strip(first * lanes, vectors))
            first += vectors
        return strips

    @property
    def lanes(self) -> int:
        """Lanes of all strips: the packed bias and multiplier of each."""
        return len(self.strips()) * QUAD * self.isa.lanes

    @property
    def zeros(self) -> int:
        """Zeros behind the packed bias; see `DepthwiseWalk`."""
        first = self.window.last + 1
        return first + (self.window.reached(self.y.w) - 1) * self.strides[1]

    def pack(
        self,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.integer],
        multiplier: npt.NDArray[np.float32],
        x_zero_point: int,
    ) -> Packed:
        """Return the constants as the kernel takes them.

        Args:
            weight: int8[C, 1, kh, kw].
            bias: [C]; the zero point's share, `-x_zero_point * sum(w)`, is folded in.
            multiplier: float32[C].
            x_zero_point: Of the input.
        """
        assert self.tile is not None
        folded = fold_zero_point(weight, bias, x_zero_point)
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        for strip in self.strips():
            order = channel_order(self.isa.lanes, strip.vectors)
            channels = strip.channel + np.array(order)
            taken = np.minimum(channels, self.y.c - 1)
            rows = weight[taken, 0].transpose(1, 2, 0)
            dots = self.window.dots(self.tile.rows)
            operands = np.zeros((len(dots), len(order), self.isa.taps), np.int8)
            for dot, operand in zip(dots, operands, strict=True):
                for byte, kh in dot.bytes.items():
                    operand[:, byte] = rows[kh, dot.kw]
            parts.append((operands.ravel(), folded[taken], multiplier[taken]))
        weights, biases, multipliers = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        return weights, padded(biases, self.lanes + self.zeros), multipliers

    def func(self) -> Any:
        """Return the PrimFunc."""
        assert self.tile is not None
        weights = self.lanes * self.isa.taps * len(self.window.dots(self.tile.rows))
        r = self.residual
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("main")
            walk = DepthwiseWalk(
                conv=self,
                tile=self.tile,
                x=tir.arg("x", tir.Buffer((self.x.size,), self.isa.activation)),
                w=tir.arg("w", tir.Buffer((weights,), "int8")),
                bias=tir.arg("bias", tir.Buffer((self.lanes + self.zeros,), "int32")),
                multiplier=tir.arg("multiplier", tir.Buffer((self.lanes,), "float32")),
                r=tir.arg("r", tir.Buffer((r.size,), self.r_dtype)) if r else None,
                scale=tir.arg("r_multiplier", tir.Buffer((1,), "float32")) if r else None,
                y=tir.arg("y", tir.Buffer((self.y.size,), self.epilogue.dtype)),
            )
            tir.func_attr({"tirx.noalias": True})
            DepthwiseLoops(walk).emit()
        return builder.get()
