"""Which nodes are better left in float: little work, and 8 bits would cost them much."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from qcompile.regions import Role, constant, role

NORMALIZATIONS = frozenset(
    {
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "RMSNormalization",
    }
)
RESIDUAL = "a normalization reads its sum: 8 bits of a residual stream cost accuracy"
SCORES = "a softmax reads it: a step of 8 bits there is a factor in the answer"
SMOOTHED = "qcompile.smoothed"
"""Written by SmoothActivations on the node that gives what it made smooth."""
PRODUCT = "product"
"""What stands there on the product that it added."""
UNEVEN = "it makes channels alike before they are rounded"
MAGNITUDE = "it leads from squares to a root: 8 bits hold too few magnitudes"
TOWARDS_ROOT = frozenset(
    {"Add", "Clip", "Div", "Max", "Mul", "Pow", "ReduceMean", "ReduceSum"}
)
"""What stands between a square and its root: sums, means, an epsilon."""

PASSING = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Softmax"})
"""What stands between a product of two activations and its softmax, and the softmax."""


def better_float(graph: ir.Graph) -> dict[ir.Node, str]:
    """Return the nodes that stay float for their precision, and why.

    residual stream: sums that a normalization reads, and the sums that lead to them
    attention scores: what is between a product of two activations and its Softmax, which
                      in float reads the accumulator itself
    smoothing: what SmoothActivations multiplies by
    """
    reasons: dict[ir.Node, str] = {}
    for node in graph:
        if node.op_type in NORMALIZATIONS:
            reasons |= dict.fromkeys(_sums_before(node.inputs[0]), RESIDUAL)
        if node.metadata_props.get(SMOOTHED) == PRODUCT:
            reasons[node] = UNEVEN
        if node.op_type == "Softmax":
            chain = list(_chain_before(node))
            if role(chain[-1]) is Role.PRODUCT:
                reasons |= dict.fromkeys(chain[:-1], SCORES)
        if node.op_type == "Sqrt":
            reasons |= dict.fromkeys(_magnitude(node), MAGNITUDE)
    return reasons


def _sums_before(value: ir.Value | None) -> Iterator[ir.Node]:
    """Yield the Adds that a value is the sum of, as far as they follow each other."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen or node.op_type != "Add":
            continue
        seen.add(node)
        yield node
        waiting += node.inputs


def _chain_before(softmax: ir.Node) -> Iterator[ir.Node]:
    """Yield the Softmax, what leads to it of the same shape, and the node before that."""
    node: ir.Node | None = softmax
    while node is not None:
        yield node
        if node.op_type not in PASSING:
            return
        shape = node.outputs[0].shape
        sources = [
            value.producer()
            for value in node.inputs
            if value is not None and value.shape == shape and value.producer() is not None
        ]
        node = sources[0] if sources else None


def _magnitude(root: ir.Node) -> list[ir.Node]:
    """Return a root, the squares it is of, and what divides by it; empty if of no square."""
    found, waiting = [root], [root.inputs[0]]
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in found or node.op_type not in TOWARDS_ROOT:
            continue
        found.append(node)
        if not _is_square(node):
            waiting += node.inputs
    if not any(_is_square(node) for node in found):
        return []
    readers = list(root.outputs[0].consumers())
    inverse = [node for node in readers if node.op_type in ("Div", "Reciprocal")]
    products = [user for node in inverse for user in node.outputs[0].consumers()]
    return [*found, *inverse, *(user for user in products if user.op_type == "Mul")]


def _is_square(node: ir.Node) -> bool:
    """Whether a node is x * x or x**2."""
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    exponent = constant(node.inputs[1]) if node.op_type == "Pow" else None
    return exponent is not None and exponent.size == 1 and float(exponent.reshape(())) == 2.0
