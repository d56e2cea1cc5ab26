"""Fill the halo of a kernel's output with the tensor's zero point."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span, splat
from qcompile.targets.layout import Layout

WIDEST = 64
"""Most elements of one store; LLVM splits it where the registers are narrower."""


def fill_halo(buffer: Any, layout: Layout, dtype: str, zero_point: int) -> None:
    """Write the zero point around every image of a flat buffer.

    The halo of an image is one run of memory before its first pixel, one between each line
    and the next, and one after its last pixel.
    """
    halo = layout.halo
    before = (halo.top * layout.stored_w + halo.left) * layout.c_pad
    between = (halo.left + halo.right) * layout.c_pad
    after = (halo.bottom * layout.stored_w + halo.right) * layout.c_pad
    if not before + between + after:
        return
    image = layout.stored_h * layout.stored_w * layout.c_pad
    with tir.serial(layout.n) as n:
        fill(buffer, n * image, before, dtype, zero_point)
        if layout.h > 1 and between:
            with tir.serial(layout.h - 1) as h:
                fill(buffer, layout.at(n, h, layout.w, 0), between, dtype, zero_point)
        fill(buffer, (n + 1) * image - after, after, dtype, zero_point)


def fill(buffer: Any, start: Expr, size: int, dtype: str, value: float) -> None:
    """Write one value to `size` neighbours; the last store overlaps the one before it."""
    if size == 0:
        return
    width = min(WIDEST, 1 << (size.bit_length() - 1))
    with tir.serial(-(-size // width)) as i:
        offset = tir.min(i * width, size - width)
        tir.buffer_store(buffer, splat(dtype, value, width), [span(start + offset, width)])
