"""Name an intermediate result of a kernel, so that it is computed once."""

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
