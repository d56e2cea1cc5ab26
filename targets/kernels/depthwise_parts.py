"""Where the four vectors of a quad lie: channels of one pixel, or of two or four pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels import edges
from qcompile.targets.kernels.blocks import part
from qcompile.targets.kernels.depthwise_window import QUAD
from qcompile.targets.kernels.epilogue import centered
from qcompile.targets.kernels.interleave import scatter
from qcompile.targets.layout import Layout

if TYPE_CHECKING:
    from qcompile.targets.kernels.depthwise_conv import DepthwiseConv


@dataclasses.dataclass(frozen=True)
class Parts:
    """How a line is cut so that a quad has something to do where the channels do not fill it.

    With two vectors of channels a quad takes a pixel of the line's left half and one of its
    right half, with one a pixel of each quarter. Parts overlap where the line has no whole
    halves or quarters.

    Attributes:
        conv: The kernel.
        vectors: Vectors of channels: 4, 2 or 1.
    """

    conv: DepthwiseConv
    vectors: int

    @property
    def width(self) -> int:
        """Pixels of a part."""
        return -(-self.conv.y.w // (QUAD // self.vectors))

    @property
    def size(self) -> int:
        """Channels of a part."""
        return self.vectors * self.conv.isa.lanes

    def starts(self) -> list[int]:
        """Return the first output pixel of each part."""
        last = self.conv.y.w - self.width
        return [min(i * self.width, last) for i in range(QUAD // self.vectors)]

    def load(self, buffer: Any, starts: list[Expr], room: int = 0, dtype: str = "") -> Expr:
        """Return the channels of every part, one after the other."""
        rooms = room or self.size
        loaded = [edges.load(buffer, start, self.size, rooms, dtype) for start in starts]
        if len(loaded) == 1:
            return loaded[0]
        return tir.Shuffle(loaded, list(range(QUAD * self.conv.isa.lanes)))

    def residuals(self, buffer: Any, place: Place, row: int) -> list[Expr]:
        """Return what is added to the four vectors of a row's first pixel, float32[lanes]."""
        conv, lanes = self.conv, self.conv.isa.lanes
        assert conv.residual is not None
        room = place.room(conv.residual)
        stored = self.load(buffer, place.outputs(conv.residual, row), room, conv.r_dtype)
        return [
            centered(vector, conv.r_zero_point, lanes=lanes)
            for vector in scatter(stored, lanes)
        ]

    def save(self, buffer: Any, place: Place, row: int, value: Expr) -> None:
        """Store the channels of every part."""
        room, dtype = place.room(self.conv.y), self.conv.epilogue.dtype
        indices = place.outputs(self.conv.y, row)
        for i, index in enumerate(indices):
            own = value if len(indices) == 1 else part(value, i, self.size)
            edges.save(buffer, index, own, self.size, room, dtype)


@dataclasses.dataclass(frozen=True)
class Place:
    """What is computed: an image, its first row, the first pixel of a part, channels.

    Attributes:
        n: Image.
        h: First output row.
        w: First output pixel, from the part's first.
        channel: First channel.
        packed: The strip's first lane in the packed constants.
        parts: Of the quad.
    """

    n: Expr
    h: Expr
    w: Expr
    channel: Expr
    packed: Expr
    parts: Parts

    def at(self, w: Expr) -> Place:
        """Return the place of another pixel, from this one."""
        return dataclasses.replace(self, w=self.w + w)

    def inputs(self, row: int, column: int) -> list[Expr]:
        """Return where the parts' channels of an input row and column lie, from the first."""
        conv = self.parts.conv
        top = self.h * conv.strides[0] - conv.pads[0] + row
        lefts = [
            (self.w + start) * conv.strides[1] - conv.pads[1] for start in self.parts.starts()
        ]
        return [conv.x.at(self.n, top, left + column, self.channel) for left in lefts]

    def outputs(self, layout: Layout, row: int) -> list[Expr]:
        """Return where the parts' channels of the first pixel of a row lie."""
        starts = self.parts.starts()
        return [
            layout.at(self.n, self.h + row, self.w + start, self.channel) for start in starts
        ]

    def room(self, layout: Layout) -> int:
        """Return how many channels of a part lie inside the stored ones."""
        if not isinstance(self.channel, int):
            return self.parts.size
        return min(self.parts.size, layout.c_pad - self.channel)
