"""Write every rank-2 product with a constant matrix as one plain Gemm with its bias."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from qcompile.graphs.rewriting import Names, new_type, remove_unread
from qcompile.regions import constant, is_constant, sole_user

DEFAULTS = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}


@dataclasses.dataclass(frozen=True)
class FuseMatMulBias(ir.passes.InPlacePass):
    """Replace `Add(MatMul(x, W), b)` by `Gemm(x, W, b)`, and bring every Gemm to one form.

    Gemm <alpha, beta, transB> (x, W, C)  ->  Gemm (x, alpha * W^(T), beta * C)

    so that W is [K, N], C is [N] or absent and alpha and beta are 1. A quantized W behind a
    DequantizeLinear is transposed as integers.

    Kept: a product of two activations or of another rank; one that has a second user, is a
    graph output or stands outside the branch; a summand that is no constant row; a matrix
    or a summand that is an input. In a Gemm: transA; alpha before a quantized matrix; beta
    before a C that is computed or differs from row to row.

    Example:
        before:
            g (float[4,2] x) => (float[4,3] y)
            <float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[3] b = {1.5, 2.5, 3.5}>
            { a = MatMul (x, w)  y = Add (a, b) }
        after:
            g (float[4,2] x) => (float[4,3] y)
            <float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[3] b = {1.5, 2.5, 3.5}>
            { y = Gemm (x, w, b) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any product was rewritten."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.domain not in ("", "ai.onnx"):
                continue
            if node.op_type == "Add":
                modified |= become_gemm(node, names)
            if node.op_type == "Gemm" and is_constant(node.inputs[1]):
                steps = plain_weight(node, names), plain_bias(node, names), drop_defaults(node)
                modified |= any(steps)
        return ir.passes.PassResult(model, modified)


def become_gemm(add: ir.Node, names: Names) -> bool:
    """Turn the Add of a product and a row into the product with that bias.

    The Add becomes the Gemm, not the product: a bias behind a DequantizeLinear may be
    computed between the two.
    """
    for value, bias in (add.inputs[:2], add.inputs[1::-1]):
        product = bare_product(value, add)
        if product is None or product.inputs[1] is None:
            continue
        row = bias_row(bias, 1.0, columns(product), add, names)
        if row is None or value is None:
            continue
        add.op_type = "Gemm"
        add.attributes.update(product.attributes)
        add.attributes.pop("beta", None)
        add.resize_inputs(3)
        for index, operand in enumerate((*product.inputs[:2], row)):
            add.replace_input_with(index, operand)
        add.name, name = product.name, add.name
        product.name = name
        assert product.graph is not None
        product.graph.remove(product, safe=True)
        return True
    return False


def bare_product(value: ir.Value | None, add: ir.Node) -> ir.Node | None:
    """Return the MatMul or Gemm without a bias that only this Add reads, if it is one."""
    product = value.producer() if value is not None else None
    if value is None or product is None or product.graph is not add.graph:
        return None
    if product.op_type not in ("MatMul", "Gemm") or sole_user(value) is not add:
        return None
    x, weight, *bias = product.inputs
    if any(bias):
        return None
    ranks = [None if v is None or v.shape is None else len(v.shape) for v in (x, weight)]
    return product if ranks == [2, 2] and is_constant(weight) else None


def columns(product: ir.Node) -> int:
    """Return N, the columns of the answer."""
    weight = product.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    size = weight.shape[0 if product.attributes.get_int("transB", 0) else 1]
    assert isinstance(size, int), "a constant has a known shape"
    return size


def bias_row(
    bias: ir.Value | None, factor: float, size: int, user: ir.Node, names: Names
) -> ir.Value | None:
    """Return `factor * bias` as one number a column, or None where it is not that."""
    array = constant(bias)
    if bias is None or not is_constant(bias):
        return None
    if array is None:
        return bias if factor == 1.0 and bias.shape == (size,) else None
    if array.shape == (size,) and factor == 1.0:
        return bias
    if array.shape[-1:] not in ((), (1,), (size,)) or array.shape[:-1] not in ((), (1,)):
        return None
    row = np.broadcast_to(array.reshape(-1).astype(np.float64) * factor, (size,))
    assert isinstance(user.graph, ir.Graph)
    return names.initializer(user.graph, f"{bias.name}_row", row.astype(array.dtype))


def plain_bias(gemm: ir.Node, names: Names) -> bool:
    """Fold beta into C and make it a row; return whether that changed anything."""
    bias = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    if bias is None:
        return gemm.attributes.pop("beta", None) is not None
    factor = gemm.attributes.get_float("beta", 1.0) or 0.0
    row = bias_row(bias, factor, columns(gemm), gemm, names)
    if row is None or row is bias:
        return False
    gemm.attributes.pop("beta", None)
    gemm.replace_input_with(2, row)
    return True


def plain_weight(gemm: ir.Node, names: Names) -> bool:
    """Fold alpha and transB into the matrix; return whether that changed anything."""
    weight = gemm.inputs[1]
    array = constant(weight)
    alpha = gemm.attributes.get_float("alpha", 1.0)
    transposed = bool(gemm.attributes.get_int("transB", 0))
    assert weight is not None
    assert isinstance(gemm.graph, ir.Graph)
    if array is None:
        return transposed and transpose_integers(gemm, names)
    if alpha == 1.0 and not transposed:
        return False
    scaled = (array.astype(np.float64) * alpha).astype(array.dtype)
    plain = np.ascontiguousarray(scaled.T) if transposed else scaled
    gemm.attributes.pop("alpha", None)
    gemm.attributes.pop("transB", None)
    gemm.replace_input_with(1, names.initializer(gemm.graph, f"{weight.name}_plain", plain))
    return True


def transpose_integers(gemm: ir.Node, names: Names) -> bool:
    """Put the matrix's integers in [K, N] order, with a DequantizeLinear of its own."""
    weight, graph = gemm.inputs[1], gemm.graph
    assert weight is not None
    assert isinstance(graph, ir.Graph)
    dequantize = weight.producer()
    assert dequantize is not None
    stored, scale = dequantize.inputs[:2]
    integers = constant(stored)
    if stored is None or scale is None or integers is None or scale.shape is None:
        return False
    if dequantize.attributes.get_int("block_size", 0) or len(scale.shape) > 1:
        return False
    axis = (dequantize.attributes.get_int("axis", 1) or 0) % 2
    plain = np.ascontiguousarray(integers.T)
    turned = names.node(
        "DequantizeLinear",
        [names.initializer(graph, f"{stored.name}_plain", plain), *dequantize.inputs[1:]],
        {"axis": 1 - axis},
        name=f"{dequantize.name or stored.name}_plain",
        like=weight,
    )
    turned.outputs[0].shape = ir.Shape(plain.shape)
    turned.outputs[0].type = new_type(weight)
    graph.insert_before(gemm, turned)
    gemm.attributes.pop("transB", None)
    gemm.replace_input_with(1, turned.outputs[0])
    remove_unread([dequantize])
    return True


def drop_defaults(gemm: ir.Node) -> bool:
    """Remove attributes that say what is so without them."""
    idle = [name for name, value in DEFAULTS.items() if _is(gemm.attributes.get(name), value)]
    for name in idle:
        gemm.attributes.pop(name)
    return bool(idle)


def _is(attribute: ir.Attr | None, value: float) -> bool:
    return attribute is not None and attribute.value == value
