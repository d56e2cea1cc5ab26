"""Move Transposes down the graph until they meet and vanish."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qcompile.graphs.rewriting import new_type
from qcompile.graphs.transposes import is_transpose, permutation
from qcompile.regions import constant, sole_user
from qcompile.unary import UNARY_OPS

BINARY_OPS = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min"})


@dataclasses.dataclass(frozen=True)
class MergeTransposes(ir.passes.InPlacePass):
    """Compose neighbouring Transposes and sink them through elementwise operators.

    T_q(T_p(x)) = T_{p∘q}(x), nothing where p∘q keeps the order
    f(T_p(x)) = T_p(f(x))                      f of one number (Relu, Clip, Sigmoid, …)
    T_p(a) + T_p(b) = T_p(a + b)               and Sub, Mul, Div, Max, Min
    T_p(a) + c = T_p(a + T_p⁻¹(c))             c a constant of the same rank, or one number
    Concat_i(T_p(a), T_p(b)) = T_p(Concat_{p[i]}(a, b))

    So the Transposes that an NHWC exporter puts around every convolution cancel each other.

    Kept: a Transpose with a second user or that is a graph output, before anything else than
    a Transpose; that one then reads what the first does.

    Example:
        before:
            g (float[1,4,5,3] x) => (float[1,4,5,3] y)
            { a = Transpose <perm = [0, 3, 1, 2]> (x)  r = Relu (a)
              b = Transpose <perm = [0, 2, 3, 1]> (r)  y = Neg (b) }
        after:
            g (float[1,4,5,3] x) => (float[1,4,5,3] y) { r = Relu (x)  y = Neg (r) }
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any Transpose moved."""
        modified = False
        while any(_step(graph) for graph in (model.graph, *model.graph.subgraphs())):
            modified = True
        return ir.passes.PassResult(model, modified)


def _step(graph: ir.Graph) -> bool:
    """Move one Transpose of this graph down by one node; return whether there was one."""
    for node in graph:
        if not is_transpose(node):
            continue
        users = [use.node for use in node.outputs[0].uses() if use.node.graph is graph]
        after = next((user for user in users if is_transpose(user)), None)
        if after is not None:
            _compose(node, after)
            return True
        user = sole_user(node.outputs[0])
        if user is None or user.graph is not graph:
            continue
        if can_sink(node, user):
            _sink(node, user)
            return True
    return False


def can_sink(transpose: ir.Node, user: ir.Node) -> bool:
    """Whether the user gives the same numbers when the Transpose comes after it."""
    perm = permutation(transpose)
    if not perm:
        return False
    if user.op_type in UNARY_OPS:
        return user.inputs[0] is transpose.outputs[0]
    if user.op_type not in BINARY_OPS and user.op_type != "Concat":
        return False
    return all(_follows(value, perm, user) for value in user.inputs)


def _follows(value: ir.Value | None, perm: Sequence[int], user: ir.Node) -> bool:
    """Whether an input of the user is transposed alike, or a constant that can be."""
    if value is None:
        return False
    producer = value.producer()
    if producer is not None:
        alike = producer.op_type == "Transpose" and permutation(producer) == list(perm)
        return alike and sole_user(value) is user
    array = constant(value)
    return array is not None and (
        array.ndim == len(perm)
        or (array.size == 1 and array.ndim < len(perm) and user.op_type in BINARY_OPS)
    )


def _compose(first: ir.Node, second: ir.Node) -> None:
    inner = permutation(first)
    perm = [inner[axis] for axis in permutation(second)]
    source, output = first.inputs[0], second.outputs[0]
    graph = second.graph
    assert graph is not None
    if perm == sorted(perm) and not output.is_graph_output() and source is not None:
        output.replace_all_uses_with(source)
        graph.remove(second, safe=True)
    else:
        second.replace_input_with(0, source)
        second.attributes["perm"] = ir.AttrInt64s("perm", perm)
    if not first.outputs[0].uses() and not first.outputs[0].is_graph_output():
        graph.remove(first, safe=True)


def _sink(transpose: ir.Node, user: ir.Node) -> None:
    """Rewrite user(T(a), …) to T(user(a, …)); the result keeps its name."""
    perm, graph = permutation(transpose), user.graph
    assert graph is not None
    for index, value in enumerate(user.inputs):
        producer = value.producer() if value is not None else None
        array = constant(value)
        if producer is not None and producer.op_type == "Transpose":
            user.replace_input_with(index, producer.inputs[0])
            if not producer.outputs[0].uses():
                graph.remove(producer, safe=True)
        elif value is not None and array is not None and array.ndim == len(perm):
            moved = np.ascontiguousarray(array.transpose(np.argsort(perm)))
            name = f"{value.name}_{user.outputs[0].name}_transposed"
            user.replace_input_with(index, _initializer(graph, name, moved))
    if user.op_type == "Concat":
        axis = perm[user.attributes["axis"].as_int() % len(perm)]
        user.attributes["axis"] = ir.AttrInt64("axis", axis)
    _transpose_after(graph, user, perm)


def _transpose_after(graph: ir.Graph, user: ir.Node, perm: Sequence[int]) -> None:
    """Let the readers of the user's output read its Transpose; graph outputs keep names."""
    output = user.outputs[0]
    after = ir.node("Transpose", [output], {"perm": list(perm)})
    moved = after.outputs[0]
    moved.shape, moved.type = output.shape, new_type(output)
    if output.is_graph_output():
        moved.name, output.name = output.name, f"{output.name}_untransposed"
        for index, value in enumerate(graph.outputs):
            if value is output:
                graph.outputs[index] = moved
    graph.insert_after(user, after)
    for reader, index in tuple(output.uses()):
        if reader is not after:
            reader.replace_input_with(index, moved)
    if output.shape is not None:
        output.shape = ir.Shape([output.shape[int(axis)] for axis in np.argsort(perm)])


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value
