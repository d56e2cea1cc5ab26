"""Move a scalar factor into the weights of the products around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qcompile.graphs.formulas import number, producer, scalar_step
from qcompile.graphs.index_moves import MOVERS, Indices, moved
from qcompile.graphs.linear import Floats, Linear, find_linear, store
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant, sole_user

LARGEST = 1 << 24
"""Elements of a value up to which is asked who reads which of them."""


@dataclasses.dataclass(frozen=True)
class FoldScalarFactors(ir.passes.InPlacePass):
    """Replace `c * move(W x + b)` by `move((c W) x + c b)`, and `W (c * x)` by `(c W) x`.

    A move is a Reshape, Flatten, Squeeze, Unsqueeze, Transpose or Slice. The factor also goes
    through a product of two activations to one of its sides, so that what scales the scores
    of an attention ends in the projection of the queries: of a projection that gives queries,
    keys and values at once only those columns are scaled that nothing else reads.

    x * 1 is x; x / c that cannot be folded becomes x * (1 / c), one rounding more. Factors are
    computed in float64 and rounded once.

    Kept: a factor whose way meets another operator, a second reader, a graph output or the
    border of a branch before a product with a constant weight; what would leave float32.

    Example:
        before:
            g (float[1,3,2] x) => (float[1,2,3] y)
            <float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float c = {2.0}>
            { a = MatMul (x, w)  t = Transpose <perm = [0, 2, 1]> (a)  s = Div (t, c)
              y = Softmax (s) }
        after:
            g (float[1,3,2] x) => (float[1,2,3] y) <float[2,2] w = {0.5, 1.0, 1.5, 2.0}>
            { a = MatMul (x, w)  t = Transpose <perm = [0, 2, 1]> (a)  y = Softmax (t) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any factor moved."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            step = scalar_step(node) if node.op_type in ("Mul", "Div") else None
            if step is None or step.x.dtype != ir.DataType.FLOAT:
                continue
            unit = step.factor == 1.0 and step.x.shape == node.outputs[0].shape
            if (unit or fold(node, step.x, step.factor, names)) and bypass(node, step.x):
                modified = True
            elif node.op_type == "Div":
                modified |= multiply_instead(node, names)
        return ir.passes.PassResult(model, modified)


def fold(node: ir.Node, x: ir.Value, factor: float, names: Names) -> bool:
    """Scale a weight instead of x; return whether there was one."""
    if node.outputs[0].is_graph_output():
        return False
    for source in sources(x, node):
        if source.linear.scale(source.factors(factor), names):
            return True
    return scale_readers(node, factor, names)


@dataclasses.dataclass(frozen=True)
class Source:
    """A product that a value is moved from.

    Attributes:
        linear: The product.
        columns: Those of its output channels that the value holds, None for all.
    """

    linear: Linear
    columns: Indices | None

    def factors(self, factor: float) -> Floats:
        """Return one factor an output channel."""
        if self.columns is None:
            return np.full(self.linear.channels, factor)
        factors = np.ones(self.linear.channels)
        factors[self.columns] = factor
        return factors


def sources(x: ir.Value, reader: ir.Node) -> Iterator[Source]:
    """Yield the products whose outputs x is made of, the first side of a MatMul first."""
    path: list[ir.Node] = []
    value, shared = x, False
    while not value.is_graph_output() and value.graph is reader.graph:
        shared = shared or sole_user(value) is None
        linear = find_linear(value)
        if linear is not None:
            columns = own_columns(linear, value, path) if shared else None
            if not shared or columns is not None:
                yield Source(linear, columns)
            return
        mover = producer(value, *MOVERS)
        if mover is not None and mover.inputs[0] is not None:
            path.append(mover)
            value = mover.inputs[0]
            continue
        product = producer(value, "MatMul")
        if product is not None and not shared:
            for side in product.inputs:
                if side is not None and constant(side) is None:
                    yield from sources(side, product)
        return


def own_columns(linear: Linear, value: ir.Value, path: list[ir.Node]) -> Indices | None:
    """Return the output channels that reach the end of the path and nothing else.

    Every other reader on the way must be a move of other channels.
    """
    if not path or len(path[0].outputs[0].uses()) != 1:
        return None
    if value.shape is None or not value.shape.is_static():
        return None
    shape = value.shape.numpy()
    if np.prod(shape, dtype=int) > LARGEST or len(shape) != linear.rank:
        return None
    if shape[linear.axis] != linear.channels:
        return None
    along = [-1 if axis == linear.axis else 1 for axis in range(linear.rank)]
    numbers = np.arange(linear.channels, dtype=np.int64).reshape(along)
    held = np.broadcast_to(numbers, shape)
    beside: list[Indices] = []
    for mover in path[::-1]:
        source = mover.inputs[0]
        assert source is not None
        for use in source.uses():
            others = moved(held, use.node) if use.node is not mover else held[:0]
            if others is None or use.node.graph is not mover.graph:
                return None
            beside.append(np.unique(others))
        after = moved(held, mover)
        if after is None or mover.outputs[0].is_graph_output():
            return None
        held = after
    columns = np.unique(held)
    clash = any(np.isin(others, columns).any() for others in beside)
    return None if clash else columns


def scale_readers(node: ir.Node, factor: float, names: Names) -> bool:
    """Scale the weight of the product that reads what this node gives, moved or not."""
    value = node.outputs[0]
    while True:
        user = sole_user(value)
        if user is None or user.domain not in ("", "ai.onnx") or user.graph is not node.graph:
            return False
        if user.op_type not in MOVERS or user.inputs[0] is not value:
            break
        value = user.outputs[0]
    if user.op_type not in ("Conv", "MatMul", "Gemm") or user.inputs[0] is not value:
        return False
    weight = constant(user.inputs[1])
    if weight is None or weight.dtype != np.float32:
        return False
    return store([(user, 1, weight.astype(np.float64) * factor)], names)


def bypass(node: ir.Node, x: ir.Value) -> bool:
    """Let the readers of the node read x; False where it is a graph output."""
    if node.outputs[0].is_graph_output():
        return False
    assert node.graph is not None
    node.outputs[0].replace_all_uses_with(x)
    node.graph.remove(node, safe=True)
    return True


def multiply_instead(node: ir.Node, names: Names) -> bool:
    """Turn a Div by a constant into a Mul by its reciprocal."""
    divisor = node.inputs[1]
    c = number(divisor)
    array = constant(divisor)
    assert c is not None
    assert array is not None
    assert divisor is not None
    reciprocal = np.float32(1.0 / c)
    if not np.isfinite(reciprocal) or reciprocal == 0 or not isinstance(node.graph, ir.Graph):
        return False
    value = np.full(array.shape, reciprocal, np.float32)
    node.op_type = "Mul"
    inverse = names.initializer(node.graph, f"{divisor.name}_reciprocal", value)
    node.replace_input_with(1, inverse)
    return True
