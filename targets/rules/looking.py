"""Who reads a value through a view, so that it need not lie anywhere by itself."""

from __future__ import annotations

import onnx_ir as ir

from qcompile import ops

PRODUCTS = frozenset({ops.QBATCHMATMUL, ops.QDYNAMICBATCHMATMUL})
"""They copy what they read into blocks anyway, each reader its own."""

READERS = frozenset(
    {
        "Concat",
        "DequantizeLinear",
        "Flatten",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        ops.QADD,
        ops.QLUT,
        ops.QMUL,
    }
)
"""They read every element once."""


def looked_through(value: ir.Value) -> bool:
    """Whether a view of another value serves the readers of this one as well as a copy.

    One reader reads each element once, wherever it lies; several would go the long way twice.
    """
    readers = [use.node.op_type for use in value.uses()]
    if any(reader in PRODUCTS for reader in readers):
        return True
    return len(readers) == 1 and readers[0] in READERS and not value.is_graph_output()
