"""Vectors that reach past the stored channels of a pixel: moved lane by lane."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span


def load(buffer: Any, index: Expr, lanes: int, room: int, dtype: str) -> Expr:
    """Return a vector of which only `room` lanes may be read; the others hold anything."""
    if room >= lanes:
        return buffer[span(index, lanes)]
    part = tir.alloc_buffer((lanes,), dtype, scope="global")
    for lane in range(room):
        tir.buffer_store(part, buffer[index + lane], [lane])
    return part[span(0, lanes)]


def save(buffer: Any, index: Expr, value: Expr, lanes: int, room: int, dtype: str) -> None:
    """Store a vector of which only `room` lanes may be written."""
    if room >= lanes:
        tir.buffer_store(buffer, value, [span(index, lanes)])
        return
    part = tir.alloc_buffer((lanes,), dtype, scope="global")
    tir.buffer_store(part, value, [span(0, lanes)])
    for lane in range(room):
        tir.buffer_store(buffer, part[lane], [index + lane])
