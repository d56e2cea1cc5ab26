"""Bring the quantized forms of other tools into standard operators, or refuse them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.graphs.rewriting import Names
from qcompile.importer import contrib_qdq, dynamic_forms, nbits, qoperator
from qcompile.importer.expansion import Expansion
from qcompile.regions import constant

Expand = Callable[[Expansion], None]

STANDARD: Mapping[str, Expand] = {
    **qoperator.STANDARD_FORMS,
    "ConvInteger": dynamic_forms.conv_integer,
}
"""Operator of the standard domain -> what writes it out."""

CONTRIB: Mapping[str, Expand] = {
    **qoperator.CONTRIB_FORMS,
    **nbits.FORMS,
    "QuantizeLinear": contrib_qdq.to_standard,
    "DequantizeLinear": contrib_qdq.to_standard,
    "DynamicQuantizeMatMul": dynamic_forms.dynamic_quantize_matmul,
    "MatMulIntegerToFloat": dynamic_forms.matmul_integer_to_float,
    "DynamicQuantizeLSTM": dynamic_forms.dynamic_quantize_lstm,
}
"""Operator of the domain com.microsoft -> what writes it out."""

FORMS = {"": STANDARD, "ai.onnx": STANDARD, "com.microsoft": CONTRIB}

QUANTIZED_NAMES = ("QLinear", "QAttention", "QOrdered", "QEmbed", "QGemm", "MatMulBnb4")
"""How the operators begin that hold integers; those without a form are refused."""

NARROW = frozenset({"INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"})
"""By name: older versions of onnx_ir lack some of them."""


def expand_quantized_forms(model: ir.Model) -> bool:
    """Write quantized operators out in place; return whether there was any.

    QOperator nodes become DequantizeLinear, the operator and QuantizeLinear; dynamic ones
    DynamicQuantizeLinear and an integer product; packed weights become float constants.

    Raises:
        UnsupportedOpError: Names the first node that cannot be, and what to export instead.
    """
    names, modified = Names(model), False
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        forms = FORMS.get(node.domain)
        if forms is None:
            continue
        expansion = Expansion(node, names)
        expand = forms.get(node.op_type)
        if expand is not None:
            expand(expansion)
            modified = True
        elif node.op_type.startswith(QUANTIZED_NAMES):
            expansion.refuse("it is a quantized operator of a kind that is not read")
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        refuse_narrow_activations(node)
    return modified


def refuse_narrow_activations(node: ir.Node) -> None:
    """Refuse what computes on fewer than 8 bits; as weights they are read.

    Raises:
        UnsupportedOpError: Names the node.
    """
    weights = node.op_type == "DequantizeLinear"
    for value in node.inputs:
        dtype = value.dtype if value is not None else None
        if value is None or dtype is None or dtype.name not in NARROW:
            continue
        if weights and constant(value) is not None:
            continue
        raise UnsupportedOpError(
            f"{value.name!r} is {dtype.name.lower()}: {dtype.bitwidth} bits are read as "
            "weights behind a DequantizeLinear only",
            where=f"node {node.name!r} ({node.op_type})",
            hint="quantize it to 8 bits, or give the float model",
        )
