"""Bring models of an opset after ours down to it, where its operators mean the same there."""

from __future__ import annotations

import onnx
from onnx import defs

from qcompile.importer.functions import STANDARD, expand, same_operator


def expand_newer(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the model with operators that this opset does not have yet spelled out.

    ONNX defines most of them (Attention, RMSNormalization, Swish, ...) by older operators.
    """
    return expand(model, lambda node: not defs.has(node.op_type, opset, ""))


def relabelled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    """Return the model under an older opset, or None where an operator differs between them.

    The converter of onnx lacks many that changed in their types only.
    """
    version = next(each.version for each in model.opset_import if each.domain in STANDARD)
    for node in model.graph.node:
        if node.domain in STANDARD and not _is_same(node, version, opset):
            return None
        if any(attribute.HasField("g") for attribute in node.attribute):
            return None
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for each in result.opset_import:
        if each.domain in STANDARD:
            each.version = opset
    return result


def _is_same(node: onnx.NodeProto, newer: int, older: int) -> bool:
    """Whether a node means the same under the older opset: it uses nothing that came later."""
    if not same_operator(node.op_type, newer, older):
        return False
    known = defs.get_schema(node.op_type, older, "").attributes
    return all(attribute.name in known for attribute in node.attribute)
