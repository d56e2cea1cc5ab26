"""Bring a QDQ graph to the form that other runtimes take without tripping.

Two plain things stop onnxruntime (seen with 1.32) and neither says anything:

- `dilations` of all ones on an AveragePool, which it copies to a QLinearAveragePool that has
  no such attribute;
- opset 21, where it writes an `output_dtype` beside the zero point when it moves a
  QuantizeLinear, and contradicts it when it turns int8 into uint8 (onnxruntime issue 25526).
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

PORTABLE_OPSET = 20
CHANGED_SINCE = frozenset({"GroupNormalization"})
"""Operators that mean something else from opset 21 on."""


def portable(model: ir.Model) -> ir.Model:
    """Return a copy that means the same: no idle dilations, and opset 20 where that is enough.

    Kept at its opset: a graph that uses what came later (4-bit types, blocks), which the
    ONNX checker finds, or an operator whose meaning changed.
    """
    copy = model.clone()
    operators = set()
    for node in ir.traversal.RecursiveGraphIterator(copy.graph):
        operators.add(node.op_type)
        if node.op_type == "AveragePool" and has_idle_dilations(node):
            node.attributes.pop("dilations")
    opset = copy.opset_imports.get("", PORTABLE_OPSET)
    if opset <= PORTABLE_OPSET or operators & CHANGED_SINCE:
        return copy
    copy.opset_imports[""] = PORTABLE_OPSET
    try:
        onnx.checker.check_model(ir.to_proto(copy), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        copy.opset_imports[""] = opset
    return copy


def has_idle_dilations(node: ir.Node) -> bool:
    """Whether a node says that neighbouring elements are neighbours."""
    attribute = node.attributes.get("dilations")
    return attribute is not None and set(attribute.as_ints()) == {1}
