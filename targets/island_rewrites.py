"""Rewrite what TVM's ONNX importer lacks, or gets wrong, into operators it gets right."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
from onnx import inliner
from onnx_ir.passes import common
from tvm.relax.frontend.onnx import onnx_frontend

from qcompile.importer.constants import fold_constants
from qcompile.importer.functions import DOMAIN, STANDARD, expand, without_domain
from qcompile.importer.opset import OPSET
from qcompile.targets.island_nodes import REWRITES, Rewriter

FLOAT = onnx.TensorProto.FLOAT

HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'

EXACT = {
    "Mish": """Mish (x) => (y) { s = Softplus(x)  t = Tanh(s)  y = Mul(x, t) }""",
    # log(1 + exp(x)) loses what is small beside 1: Kahan's log1p keeps it.
    "Softplus": """Softplus (x) => (y) {
        one = Constant <value_float = 1.0> ()
        oneLike = CastLike(one, x)
        zero = Sub(oneLike, oneLike)
        magnitude = Abs(x)
        negative = Neg(magnitude)
        u = Exp(negative)
        w = Add(oneLike, u)
        lost = Equal(w, oneLike)
        logarithm = Log(w)
        product = Mul(logarithm, u)
        kept = Sub(w, oneLike)
        quotient = Div(product, kept)
        tail = Where(lost, u, quotient)
        positive = Max(x, zero)
        y = Add(positive, tail) }""",
    # TVM begins a maximum at the lowest finite number: minus infinity is lower.
    "ReduceMax": """ReduceMax <keepdims: int = 1, noop_with_empty_axes: int = 0>
        (x, axes) => (y) {
        most = ReduceMax <keepdims: int = @keepdims,
            noop_with_empty_axes: int = @noop_with_empty_axes> (x, axes)
        infinite = Constant <value_float = -inf> ()
        bottom = Equal(x, infinite)
        flags = Cast <to = 1> (bottom)
        all = ReduceMin <keepdims: int = @keepdims,
            noop_with_empty_axes: int = @noop_with_empty_axes> (flags, axes)
        only = Cast <to = 9> (all)
        y = Where(only, infinite, most) }""",
    "ReduceMin": """ReduceMin <keepdims: int = 1, noop_with_empty_axes: int = 0>
        (x, axes) => (y) {
        least = ReduceMin <keepdims: int = @keepdims,
            noop_with_empty_axes: int = @noop_with_empty_axes> (x, axes)
        infinite = Constant <value_float = inf> ()
        top = Equal(x, infinite)
        flags = Cast <to = 1> (top)
        all = ReduceMin <keepdims: int = @keepdims,
            noop_with_empty_axes: int = @noop_with_empty_axes> (flags, axes)
        only = Cast <to = 9> (all)
        y = Where(only, infinite, least) }""",
}
"""Functions, in ONNX's text format, in an operator's place on float32, in this order."""

NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""How a Constant may hold numbers beside a tensor."""

SPELLED_OUT = frozenset({"AffineGrid", "Attention"})
"""Operators that TVM's importer knows in part only: ONNX's own definition is whole."""


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an island, given as a model of its own, in operators that TVM imports right.

    ONNX's own definition takes the place of an operator that TVM's importer does not know,
    and a function of EXACT that of one that it computes inexactly. Inputs and outputs keep
    their names. The model itself is not changed.

    Raises:
        Exception: Of many types: the model is not valid.
    """
    known = importer_operators()
    new = expand(model, lambda node: node.op_type not in known or _needs_definition(node))
    for op_type in EXACT:
        new = _replace(new, op_type)
    if new is not model:
        graph = ir.from_proto(new)
        fold_constants(graph)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
        new = ir.to_proto(graph)
    if any(node.op_type in REWRITES for node in new.graph.node):
        copy = onnx.ModelProto()
        copy.CopyFrom(new)
        new = Rewriter(copy).run()
    return _plain_constants(new)


def _plain_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every Constant, in place, its number as a tensor: the importer reads no other."""
    for node in model.graph.node:
        if node.op_type != "Constant" or node.attribute[0].name not in NUMBERS:
            continue
        attribute = node.attribute[0]
        array = np.asarray(onnx.helper.get_attribute_value(attribute), NUMBERS[attribute.name])
        tensor = onnx.numpy_helper.from_array(array)
        attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
    return model


@functools.cache
def importer_operators() -> frozenset[str]:
    """Return the operators that TVM's importer has a converter for."""
    return frozenset(onnx_frontend._get_convert_map())


def _needs_definition(node: onnx.NodeProto) -> bool:
    """Whether the importer gives only the first of a node's outputs."""
    more = any(node.output[1:])
    return (node.op_type == "LayerNormalization" and more) or node.op_type in SPELLED_OUT


def _replace(model: onnx.ModelProto, op_type: str) -> onnx.ModelProto:
    """Return the model with float32 nodes of an operator replaced by its function."""
    if not any(node.op_type == op_type and not node.domain for node in model.graph.node):
        return model
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        value.name
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == FLOAT
    }
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    for node in marked.graph.node:
        if node.op_type == op_type and node.domain in STANDARD and node.input[0] in floats:
            node.domain = DOMAIN
    marked.functions.append(onnx.parser.parse_function(HEADER + EXACT[op_type]))
    marked.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return without_domain(inliner.inline_local_functions(marked))
