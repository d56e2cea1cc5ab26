"""Refuse an axis that a tensor has not; onnx's inference does not look at all of them."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.errors import CompileError

ALONG = frozenset(
    {"ArgMax", "ArgMin", "Concat", "Gather", "GatherElements", "Hardmax", "LayerNormalization"}
    | {"LogSoftmax", "RMSNormalization", "ScatterElements", "Softmax", "Split", "TopK"}
)
"""Operators whose axis is one of their first input."""

PER_CHANNEL = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""The same, where the scale has an axis: for a single scale it says nothing."""


def refuse_axis(node: ir.Node) -> None:
    """Refuse a node whose axis its first input has not.

    Raises:
        CompileError: Names the node, the axis and the number of axes.
    """
    axis = node.attributes.get("axis")
    data = node.inputs[0] if node.inputs else None
    if axis is None or axis.type is not ir.AttributeType.INT or data is None:
        return
    scale = node.inputs[1] if len(node.inputs) > 1 else None
    single = scale is None or scale.shape is None or len(scale.shape) == 0
    if node.op_type not in ALONG and (node.op_type not in PER_CHANNEL or single):
        return
    rank = len(data.shape) if data.shape is not None else None
    if rank is not None and not -rank <= axis.as_int() < max(rank, 1):
        raise CompileError(
            f"its axis is {axis.as_int()}, and {data.name!r} has {rank} axes",
            where=f"node {node.name!r} ({node.op_type})",
            hint="export the model again",
        )
