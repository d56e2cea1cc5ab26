"""Intermediate results of a kernel: computed once, or one number in every lane."""

from __future__ import annotations

import tvm
from tvm.script.ir_builder import tirx as tir

from qcompile.targets.isa import Expr
from qcompile.targets.kernels.epilogue import span


def kept(x: Expr) -> Expr:
    """Emit the value of an expression and return it; it stays in a register.

    Not as a bound variable: TVM would put what it stands for into every use again, and take
    a time that doubles with each of them.
    """
    kind = tvm.DataType(str(x.ty.dtype))
    held = tir.alloc_buffer((kind.lanes,), str(kind.with_lanes(1)), scope="global")
    place = [span(0, kind.lanes)]
    tir.buffer_store(held, x, place)
    return held[place[0]]


def spread(number: Expr, lanes: int) -> Expr:
    """Return a scalar in every lane of a vector."""
    return number if lanes == 1 else tir.broadcast(number, lanes)
