"""Constants that are read again where they are used, not kept in registers."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as tir


def reread(buffer: Any) -> Any:
    """Emit another name of a flat buffer's memory, of which LLVM does not know that it is one.

    What is read through it is read at this place. Of constants that are read in every round
    of a loop LLVM makes registers that hold them throughout; where there are more of them than
    registers it then stores them on the stack, and sums with them. Costs no instruction.
    """
    name = "llvm.launder.invariant.group"
    address = tir.bind(tir.call_llvm_intrin("handle", name, buffer.data))
    return tir.decl_buffer(buffer.shape, buffer.dtype, data=address)
