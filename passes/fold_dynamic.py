"""Fold matrix products that are quantized at run time into one node each."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.graphs.qdq import BYTES
from qcompile.graphs.rewriting import Attributes, Names, remove_unread, take_over
from qcompile.numerics import INT32_MAX
from qcompile.ops import DOMAIN, QDYNAMICBATCHMATMUL, QDYNAMICMATMUL, VERSION
from qcompile.regions import STANDARD_DOMAINS, activation_bounds, constant, sole_user

STEPS = 255
"""How far an 8-bit integer lies from a zero point at most."""

Folded = tuple[ir.Node, list[ir.Node]]
"""A new node, not yet in the graph, and those that it stands for, in order."""


@dataclasses.dataclass(frozen=True)
class FoldDynamic(ir.passes.InPlacePass):
    """Replace the integer products that dynamic quantization writes out.

    Cast(MatMulInteger(x, w, z_x, z_w)) * (s_x * s_w) + bias
        = QDynamicMatMul(x, s_x, z_x, w - z_w, s_w, bias), with a Relu or Clip behind it
    Cast(MatMulInteger(a, b, z_a, z_b)) * (s_a * s_b)
        = QDynamicBatchMatMul(a, s_a, z_a, b, s_b, z_b)

    Kept: a product whose int32 sums are read themselves or may be beyond int32, weights that
    are no int8 around their zero point, an activation with several zero points or scales,
    vectors, unknown shapes, and sub-graphs.

    Example:
        before:
            g (float[3,2] x) => (float[3,2] y)
            <int8[2,2] w = {127, 100, 50, -127}, float[2] s_w = {0.25, 0.5},
             float[2] bias = {1.0, 2.0}, float zero = {0.0}, float six = {6.0}>
            { q, s, z = DynamicQuantizeLinear (x)  i = MatMulInteger (q, w, z)
              f = Cast <to = 1> (i)  t = Mul (s, s_w)  m = Mul (f, t)  a = Add (m, bias)
              y = Clip (a, zero, six) }
        after:
            g (float[3,2] x) => (float[3,2] y)
            <int8[2,2] w = {127, 100, 50, -127}, float[2] s_w = {0.25, 0.5},
             float[2] bias = {1.0, 2.0}>
            { q, s, z = DynamicQuantizeLinear (x)
              y = qcompile.QDynamicMatMul <lo = 0.0, hi = 6.0> (q, s, z, w, s_w, bias) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether anything was folded."""
        names, modified = Names(model), False
        for node in list(model.graph):
            product = product_of(node)
            if product is None:
                continue
            folded = fold_weighted(product, names) or fold_activations(product, names)
            if folded is None:
                continue
            new, nodes = folded
            model.graph.insert_before(nodes[-1], new)
            take_over(nodes[-1].outputs[0], new.outputs[0])
            remove_unread([*reversed(nodes), product.scaling])
            model.graph.opset_imports[DOMAIN] = VERSION
            modified = True
        return ir.passes.PassResult(model, modified)


@dataclasses.dataclass(frozen=True)
class Product:
    """A MatMulInteger whose sums become float and are scaled.

    Attributes:
        nodes: The product, its Cast and the Mul behind.
        factors: The two integers.
        zero_points: Of each; None where it is 0.
        scaling: What multiplies the scales.
        scales: Both, in its order.
    """

    nodes: tuple[ir.Node, ...]
    factors: tuple[ir.Value, ir.Value]
    zero_points: tuple[ir.Value | None, ir.Value | None]
    scaling: ir.Node
    scales: tuple[ir.Value, ir.Value]


def product_of(node: ir.Node) -> Product | None:
    """Return the product that a MatMulInteger begins, or None."""
    if node.op_type != "MatMulInteger" or node.domain not in STANDARD_DOMAINS:
        return None
    cast = sole_user(node.outputs[0])
    if cast is None or cast.op_type != "Cast":
        return None
    user = sole_user(cast.outputs[0])
    if cast.attributes.get_int("to") != ir.DataType.FLOAT or user is None:
        return None
    scale = other_input(user, cast.outputs[0]) if user.op_type == "Mul" else None
    scaling = scale.producer() if scale is not None else None
    if scaling is None or scaling.op_type != "Mul":
        return None
    (a, b), (first, second) = node.inputs[:2], scaling.inputs
    if a is None or b is None or first is None or second is None:
        return None
    points = [node.inputs[at] if at < len(node.inputs) else None for at in (2, 3)]
    scales = first, second
    return Product((node, cast, user), (a, b), (points[0], points[1]), scaling, scales)


def fold_weighted(product: Product, names: Names) -> Folded | None:
    """Return the QDynamicMatMul of a product with a constant matrix, or None."""
    x, w = product.factors
    weight = centred(w, product.zero_points[1])
    computed = [scale for scale in product.scales if constant(scale) is None]
    if weight is None or len(computed) != 1 or not is_activation(x, computed[0]):
        return None
    factor = next(constant(scale) for scale in product.scales if scale is not computed[0])
    w_scale = per_column(factor, weight.shape[1])
    point = known_point(x, product.zero_points[0], names)
    largest = STEPS * np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0)
    if w_scale is None or point is None or largest > INT32_MAX:
        return None
    bias, nodes = absorb_bias([*product.nodes], weight.shape[1])
    low, high, nodes = absorb_activation(nodes)
    name, graph = stem(nodes), nodes[0].graph
    assert isinstance(graph, ir.Graph)
    stored = [
        names.initializer(graph, f"{name}_weight", weight),
        names.initializer(graph, f"{name}_w_scale", w_scale),
        names.initializer(graph, f"{name}_bias", bias),
    ]
    inputs = [x, computed[0], point, *stored]
    return made(QDYNAMICMATMUL, inputs, {"lo": low, "hi": high}, nodes, names), nodes


def fold_activations(product: Product, names: Names) -> Folded | None:
    """Return the QDynamicBatchMatMul of a product of two activations, or None."""
    (a, b), (first, second) = product.factors, product.scales
    if constant(b) is not None or not (is_activation(a, first) and is_activation(b, second)):
        return None
    depth = a.shape[-1] if a.shape is not None else None
    if not isinstance(depth, int) or depth * STEPS**2 > INT32_MAX:
        return None
    if b.shape is None or min(len(a.shape or ()), len(b.shape)) < 2:
        return None
    points = [
        known_point(value, point, names)
        for value, point in zip(product.factors, product.zero_points, strict=True)
    ]
    if points[0] is None or points[1] is None:
        return None
    nodes = [*product.nodes]
    inputs = [a, first, points[0], b, second, points[1]]
    return made(QDYNAMICBATCHMATMUL, inputs, {}, nodes, names), nodes


def centred(w: ir.Value, zero_point: ir.Value | None) -> npt.NDArray[np.int8] | None:
    """Return a constant matrix less its zero points, if int8 holds it."""
    integers = constant(w)
    if integers is None or integers.ndim != 2 or w.dtype not in BYTES:
        return None
    point = np.zeros((), np.int16) if zero_point is None else constant(zero_point)
    if point is None or point.size not in (1, integers.shape[1]):
        return None
    numbers = integers.astype(np.int16) - point.reshape(-1).astype(np.int16)
    if numbers.min(initial=0) < -128 or numbers.max(initial=0) > 127:
        return None
    return numbers.astype(np.int8)


def per_column(
    scale: npt.NDArray[np.generic] | None, columns: int
) -> npt.NDArray[np.float32] | None:
    """Return one float32 a column."""
    if scale is None or scale.size not in (1, columns) or max(scale.shape[:-1], default=1) > 1:
        return None
    return np.broadcast_to(scale.reshape(-1), (columns,)).astype(np.float32)


def is_activation(value: ir.Value, scale: ir.Value) -> bool:
    """Whether a value is 8-bit, of a known shape, and the scale a single number."""
    known = value.shape is not None and len(value.shape) > 0 and value.dtype in BYTES
    return known and is_number(scale)


def is_number(value: ir.Value) -> bool:
    """Whether a value is known to be a single number."""
    return value.shape is not None and all(size == 1 for size in value.shape)


def known_point(value: ir.Value, point: ir.Value | None, names: Names) -> ir.Value | None:
    """Return a single zero point; a new constant 0 where it is left out."""
    if point is not None:
        return point if is_number(point) else None
    user = next(iter(value.uses())).node
    assert isinstance(user.graph, ir.Graph)
    assert value.dtype is not None
    zero = np.zeros((), value.dtype.numpy())
    return names.initializer(user.graph, f"{value.name}_zero_point", zero)


def absorb_bias(
    nodes: list[ir.Node], columns: int
) -> tuple[npt.NDArray[np.float32], list[ir.Node]]:
    """Return the constant that an Add puts on every row, zeros if none does."""
    y = nodes[-1].outputs[0]
    add = sole_user(y)
    other = other_input(add, y) if add is not None and add.op_type == "Add" else None
    array = constant(other)
    fits = (
        array is not None
        and array.size in (1, columns)
        and array.ndim <= (len(y.shape) if y.shape is not None else 1)
        and all(size == 1 for size in array.shape[:-1])
    )
    if add is None or array is None or not fits:
        return np.zeros(columns, np.float32), nodes
    row = np.broadcast_to(array.reshape(-1), (columns,)).astype(np.float32)
    return row, [*nodes, add]


def absorb_activation(nodes: list[ir.Node]) -> tuple[float, float, list[ir.Node]]:
    """Return the bounds of a Relu or Clip behind, and the nodes with it."""
    user = sole_user(nodes[-1].outputs[0])
    bounds = activation_bounds(user) if user is not None else None
    if user is None or bounds is None or bounds[0] > bounds[1]:
        return -np.inf, np.inf, nodes
    return *bounds, [*nodes, user]


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Return the input of a binary operator that is not the value; None where both are."""
    first, second = node.inputs
    return (
        second
        if first is value and second is not value
        else first
        if second is value
        else None
    )


def stem(nodes: list[ir.Node]) -> str:
    """Return what new names begin with."""
    return nodes[0].name or str(nodes[-1].outputs[0].name)


def made(
    op_type: str,
    inputs: list[ir.Value],
    attributes: Attributes,
    nodes: list[ir.Node],
    names: Names,
) -> ir.Node:
    """Return a node of ours with the last one's output, not yet in the graph."""
    y = nodes[-1].outputs[0]
    node = names.node(op_type, inputs, attributes, name=stem(nodes), like=y, domain=DOMAIN)
    node.outputs[0].dtype = ir.DataType.FLOAT
    return node
