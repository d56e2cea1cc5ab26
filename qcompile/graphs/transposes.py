"""Transposes, and the order of axes that each gives."""

from __future__ import annotations

import onnx_ir as ir


def is_transpose(node: ir.Node) -> bool:
    """Whether a node is ONNX's Transpose."""
    return node.op_type == "Transpose" and node.domain in ("", "ai.onnx")


def permutation(node: ir.Node) -> list[int]:
    """Return the perm of a Transpose; without one it reverses the axes."""
    perm = node.attributes.get("perm")
    if perm is not None:
        return list(perm.as_ints())
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return list(reversed(range(len(shape)))) if shape is not None else []
