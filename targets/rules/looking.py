"""Who reads a value through a view, so that it need not lie anywhere by itself."""

from __future__ import annotations

import onnx_ir as ir

from qcompile import ops

PRODUCTS = frozenset({"MatMul", ops.QBATCHMATMUL, ops.QDYNAMICBATCHMATMUL})
"""They copy what they read into blocks anyway, each reader its own, or read it by rows."""

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

REPEATING = frozenset(
    {"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", ops.QADD, ops.QMUL}
)
"""Those of them that read a view of any shape, in row-major order: also what repeats."""


def looked_through(value: ir.Value, *, repeated: bool = False) -> bool:
    """Whether a view of another value serves the readers of this one as well as a copy.

    One reader reads each element once, wherever it lies; several would go the long way twice.

    Args:
        value: What a view would stand for.
        repeated: Whether the view has another shape than the value.
    """
    readers = [use.node.op_type for use in value.uses()]
    if any(reader in PRODUCTS for reader in readers) and not repeated:
        return True
    known = REPEATING if repeated else READERS
    return len(readers) == 1 and readers[0] in known and not value.is_graph_output()
