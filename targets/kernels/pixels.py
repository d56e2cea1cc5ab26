"""Loops over the pixels of a layout, and over a pixel's channels in vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.layout import Layout


def over_pixels(
    layout: Layout, body: Callable[[Expr, Expr, Expr], None], *, parallel: bool
) -> None:
    """Emit loops over (n, h, w); threads share the lines, or the pixels of a single line."""

    def loop(size: int, shared: bool) -> Any:
        return tir.parallel(size) if parallel and shared else tir.serial(size)

    lines = layout.n * layout.h
    with loop(lines, lines > 1) as line, loop(layout.w, lines == 1) as w:
        body(line // layout.h, line % layout.h, w)


def over_channels(channels: int, widest: int, body: Callable[[Expr, int], None]) -> None:
    """Emit `body(first, width)` for vectors that cover the channels; the last may overlap.

    The width is the greatest power of two that is no more than the channels and `widest`.
    """
    width = min(widest, 1 << (channels.bit_length() - 1))
    with tir.serial(math.ceil(channels / width)) as index:
        exact = channels % width == 0
        body(index * width if exact else tir.min(index * width, channels - width), width)
