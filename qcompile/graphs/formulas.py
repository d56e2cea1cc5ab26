"""Read what elementwise nodes compute as a formula: products, polynomials, constants."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.regions import constant, sole_user

STANDARD = ("", "ai.onnx")
RELATIVE = 1e-6
"""Two constants that differ by less were one before they were rounded to float32."""

Numbers = npt.NDArray[np.float64]


def number(value: ir.Value | None) -> float | None:
    """Return a constant of one floating-point number."""
    array = constant(value)
    if array is None or array.size != 1 or array.dtype.kind != "f":
        return None
    return float(array.reshape(()))


def close(a: float, b: float) -> bool:
    """Whether two numbers are one up to the rounding of the constants they come from."""
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE / 10)


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the standard operator that computes a value, if it is one of these."""
    node = value.producer() if value is not None else None
    if node is None or node.domain not in STANDARD or node.op_type not in op_types:
        return None
    return node


def other_operand(node: ir.Node, value: ir.Value | None) -> ir.Value | None:
    """Return what stands beside the value in a node of two operands."""
    left, right = node.inputs[:2]
    return right if left is value else left


@dataclasses.dataclass(frozen=True)
class Step:
    """A node `y = factor * x + offset` with scalars."""

    x: ir.Value
    factor: float
    offset: float


def scalar_step(node: ir.Node | None) -> Step | None:
    """Return what Mul, Div, Add, Sub or Neg does to its one activation; shapes stay."""
    if node is None or node.domain not in STANDARD:
        return None
    if node.op_type == "Neg" and node.inputs[0] is not None:
        return Step(node.inputs[0], -1.0, 0.0)
    if node.op_type not in ("Mul", "Div", "Add", "Sub") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    c, first = (number(right), True) if number(right) is not None else (number(left), False)
    x, beside = (left, right) if first else (right, left)
    if c is None or x is None or constant(x) is not None or not _keeps_rank(x, beside):
        return None
    match node.op_type:
        case "Mul":
            return Step(x, c, 0.0)
        case "Div":
            return Step(x, 1.0 / c, 0.0) if first and c != 0 else None
        case "Add":
            return Step(x, 1.0, c)
    return Step(x, 1.0, -c) if first else Step(x, -1.0, c)


def _keeps_rank(x: ir.Value, beside: ir.Value | None) -> bool:
    """Whether the constant adds no axes to the result."""
    if beside is None or beside.shape is None:
        return False
    return len(beside.shape) == 0 or (
        x.shape is not None and len(beside.shape) <= len(x.shape)
    )


@dataclasses.dataclass(frozen=True)
class Scaled:
    """`value = factor * core + offset`, where `nodes` compute the value from the core."""

    core: ir.Value
    factor: float
    offset: float
    nodes: tuple[ir.Node, ...]


def peel(value: ir.Value, *op_types: str) -> Scaled | None:
    """Look through scalar steps for the output of one of these operators."""
    factor, offset = 1.0, 0.0
    nodes: list[ir.Node] = []
    while producer(value, *op_types) is None:
        node = value.producer()
        step = scalar_step(node)
        if node is None or step is None:
            return None
        nodes.append(node)
        factor, offset, value = factor * step.factor, offset + factor * step.offset, step.x
    return Scaled(value, factor, offset, tuple(nodes))


@dataclasses.dataclass(frozen=True)
class Product:
    """`coefficient * product of factors`, computed by `nodes`, the last step first."""

    coefficient: float
    factors: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]


def product(node: ir.Node) -> Product | None:
    """Return a tree of Mul, and Div by scalars, as one product.

    Inner nodes have one reader.
    """
    if node.op_type not in ("Mul", "Div") or node.domain not in STANDARD:
        return None
    step = scalar_step(node)
    if step is None and node.op_type == "Div":
        return None
    operands = node.inputs if step is None else (step.x,)
    coefficient = 1.0 if step is None else step.factor
    factors: list[ir.Value] = []
    nodes = [node]
    for value in operands:
        if value is None:
            return None
        inner = value.producer()
        part = product(inner) if inner is not None and sole_user(value) is node else None
        if part is None:
            factors.append(value)
            continue
        coefficient *= part.coefficient
        factors += part.factors
        nodes += part.nodes
    return Product(coefficient, tuple(factors), tuple(nodes))


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """`sum of coefficients[n] * x**n`, computed by `nodes`, the last step first."""

    coefficients: tuple[float, ...]
    nodes: tuple[ir.Node, ...]

    def is_(self, *coefficients: float) -> bool:
        """Whether these are the coefficients, lowest first."""
        mine = np.trim_zeros(self.coefficients, "b")
        return len(mine) == len(coefficients) and all(map(close, mine, coefficients))


def polynomial(
    value: ir.Value | None, x: ir.Value, degree: int = 3, depth: int = 8
) -> Polynomial | None:
    """Return a value as a polynomial of x, if it is one of at most this degree.

    It is looked for among the nodes at most `depth` steps before the value.
    """
    if value is x:
        return Polynomial((0.0, 1.0), ())
    c = number(value)
    if c is not None:
        return Polynomial((c,), ())
    node = producer(value, "Add", "Sub", "Mul", "Div", "Pow", "Neg")
    if node is None or depth == 0:
        return None
    parts = [polynomial(each, x, degree, depth - 1) for each in node.inputs]
    if any(part is None for part in parts):
        return None
    arrays = [np.array(part.coefficients) for part in parts if part is not None]
    combined = _combine(node.op_type, arrays)
    if combined is None or len(combined) > degree + 1:
        return None
    inner = [each for part in parts if part is not None for each in part.nodes]
    return Polynomial(tuple(map(float, combined)), (node, *dict.fromkeys(inner)))


def _combine(op_type: str, parts: Sequence[Numbers]) -> Numbers | None:
    """Return the coefficients of an operator of polynomials."""
    as_polynomials = [np.polynomial.Polynomial(part) for part in parts]
    if op_type == "Neg":
        return np.negative(parts[0])
    left, right = as_polynomials
    if op_type in ("Div", "Pow") and (len(parts[1]) != 1 or parts[1][0] == 0):
        return None
    match op_type:
        case "Add":
            return np.asarray((left + right).coef)
        case "Sub":
            return np.asarray((left - right).coef)
        case "Mul":
            return np.asarray((left * right).coef)
        case "Div":
            return np.asarray(parts[0] / parts[1][0])
    exponent = float(parts[1][0])
    if exponent not in (1.0, 2.0, 3.0):
        return None
    return np.asarray((left ** int(exponent)).coef)


def enclosed(last: ir.Node, nodes: Iterable[ir.Node]) -> bool:
    """Whether nothing outside reads what the nodes before the last one compute."""
    inside = {last, *nodes}
    return all(
        node is last
        or (
            node.graph is last.graph
            and not any(value.is_graph_output() for value in node.outputs)
            and all(use.node in inside for value in node.outputs for use in value.uses())
        )
        for node in inside
    )


def readers_first(nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """Return nodes of one graph so that a node comes before what it reads."""
    found = set(nodes)
    graph = next(iter(found)).graph if found else None
    return [node for node in reversed(graph) if node in found] if graph is not None else []
