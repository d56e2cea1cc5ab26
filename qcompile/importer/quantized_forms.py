"""Refuse quantized models in a form that cannot be read, and say which form can."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError

MICROSOFT = "com.microsoft"
DYNAMIC = frozenset(
    {"ConvInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM"}
)
STANDARD = frozenset({"QuantizeLinear", "DequantizeLinear"})
NARROW = frozenset({"INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"})
"""By name: older versions of onnx_ir lack some of them."""


def refuse_quantized_forms(model: ir.Model) -> None:
    """Refuse QOperator and dynamic quantization, onnxruntime's own Q/DQ, and 4-bit weights.

    Raises:
        UnsupportedOpError: Names the first such node, and what to export instead.
    """
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        problem, hint = _problem(node)
        if problem:
            raise UnsupportedOpError(
                problem, where=f"node {node.name!r} ({node.op_type})", hint=hint
            )


def _problem(node: ir.Node) -> tuple[str, str]:
    if node.domain not in ("", "ai.onnx", MICROSOFT):
        return "", ""
    if node.op_type.startswith("QLinear") or node.op_type == "QGemm":
        return (
            "the model is quantized in the QOperator form, which is not read",
            "export it in QDQ form (onnxruntime: QuantFormat.QDQ)",
        )
    if node.op_type in DYNAMIC:
        return (
            "the model is quantized dynamically, which is not read",
            "give the float model, or quantize it statically in QDQ form "
            "(onnxruntime: quantize_static, QuantFormat.QDQ)",
        )
    if node.domain == MICROSOFT and node.op_type in STANDARD:
        return (
            f"it is of the domain {MICROSOFT!r}, and only that of the standard domain is read",
            "export it in the standard domain (onnxruntime: without UseQDQContribOps)",
        )
    for value in node.inputs:
        dtype = value.dtype if value is not None else None
        if value is not None and dtype is not None and dtype.name in NARROW:
            return (
                f"{value.name!r} is {dtype.name.lower()}: {dtype.bitwidth} bits are not read",
                "quantize the weights to 8 bits, or give the float model",
            )
    return "", ""
