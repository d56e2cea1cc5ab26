"""A float convolution of every channel by itself, over images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr, Isa
from qcompile.targets.kernels.blocks import Registers
from qcompile.targets.kernels.epilogue import span
from qcompile.targets.kernels.float_end import FloatEnd
from qcompile.targets.kernels.halo import fill_halo
from qcompile.targets.kernels.packing import Pair, padded, require_window
from qcompile.targets.layout import Layout, round_up

F32 = npt.NDArray[np.float32]

SHARE = 4
"""One register in so many holds a sum; the others are for weights and pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloatDepthwise:
    """`func(x, weights, bias, y)`: y = end(bias + sum(x * weight)), all float32.

    A number is one chain of fused multiply-adds, as in FloatConv, with its bound. A tile is
    some neighbouring pixels of a line and one vector of channels; each column of the input
    is loaded once for all pixels that read it.

    Attributes:
        x: Input, whole vectors of channels; its halo covers the pads and holds zeros.
        y: Output, likewise.
        isa: The instruction set: its vectors.
        kernel: Height and width.
        strides: Of the window, down and right.
        dilations: Distance of neighbouring taps.
        pads: Top and left.
        end: What becomes of a sum.
        parallel: Whether the threads of the pool share the work.
    """

    x: Layout
    y: Layout
    isa: Isa
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pair = (0, 0)
    end: FloatEnd = dataclasses.field(default_factory=FloatEnd)
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.x.c_pad % self.isa.lanes or self.y.c_pad % self.isa.lanes:
            raise ValueError(f"channels in whole vectors, got {self.x.c_pad}, {self.y.c_pad}")
        require_window(self.x, self.y, self.kernel, self.strides, self.dilations, self.pads)

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        y = self.y
        return y.n * y.h * y.w * y.c * math.prod(self.kernel)

    @property
    def pixels(self) -> int:
        """Pixels of a tile."""
        return min(self.y.w, self.isa.registers // SHARE)

    def pack(self, weight: F32, bias: F32 | None) -> tuple[F32, F32]:
        """Return weights [vectors, taps, lanes] and bias; weight is [C, 1, kh, kw]."""
        lanes = self.isa.lanes
        size = round_up(self.y.c, lanes)
        taps = np.stack([padded(tap, size) for tap in weight.reshape(len(weight), -1).T])
        by_vector = taps.reshape(len(taps), -1, lanes).transpose(1, 0, 2)
        biases = np.zeros(size, np.float32) if bias is None else padded(bias, size)
        return np.ascontiguousarray(by_vector).reshape(-1), biases

    def func(self) -> Any:
        """Return the PrimFunc."""
        y, lanes = self.y, self.isa.lanes
        size = round_up(y.c, lanes)
        with IRBuilder() as builder, tir.prim_func():
            tir.func_name("float_depthwise")
            names = (self.x.size, size * math.prod(self.kernel), size, y.size)
            buffers = [
                tir.arg(name, tir.Buffer((elements,), "float32"))
                for name, elements in zip(("x", "w", "bias", "y"), names, strict=True)
            ]
            tir.func_attr({"tirx.noalias": True})
            fill_halo(buffers[-1], y, "float32", 0)
            tiles = -(-y.w // self.pixels)
            lines = (tir.parallel if self.parallel else tir.serial)(y.n * y.h)
            with lines as line, tir.serial(size // lanes) as v, tir.serial(tiles) as i:
                w = tir.min(i * self.pixels, y.w - self.pixels)
                self._tile(buffers, (line // y.h, line % y.h, w), v)
        return builder.get()

    def _tile(self, buffers: list[Any], place: tuple[Expr, Expr, Expr], v: Expr) -> None:
        """Compute and store one tile, its accumulators in registers."""
        x, weights, bias, y = buffers
        (n, h, w), lanes = place, self.isa.lanes
        acc = Registers(self.pixels, lanes, "float32")
        for p in range(self.pixels):
            acc[p] = bias[span(v * lanes, lanes)]
        height, width = self.kernel
        stride, dilation = self.strides[1], self.dilations[1]
        columns = sorted(
            {p * stride + k * dilation for p in range(self.pixels) for k in range(width)}
        )
        with tir.serial(height) as kh:
            line = h * self.strides[0] + kh * self.dilations[0] - self.pads[0]
            first = ((v * height + kh) * width) * lanes
            row = self.x.at(n, line, w * stride - self.pads[1], v * lanes)
            for column in columns:
                number = x[span(row + column * self.x.c_pad, lanes)]
                for kw in range(width):
                    p, inside = divmod(column - kw * dilation, stride)
                    if inside == 0 and 0 <= p < self.pixels:
                        weight = weights[span(first + kw * lanes, lanes)]
                        acc[p] = tir.fma(number, weight, acc[p])
        for p in range(self.pixels):
            result = self.end.finish(acc[p], None, lanes)
            tir.buffer_store(y, result, [span(self.y.at(n, h, w + p, v * lanes), lanes)])
