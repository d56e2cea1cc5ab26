"""The oracle: executes an integer graph in NumPy, exactly as `qcompile.ops` says.

What it answers is the meaning of the graph; compiled kernels are compared with it bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from qcompile.errors import CompileError
from qcompile.ops import DOMAIN
from qcompile.oracle.dynamic import dynamic_quantize_linear
from qcompile.oracle.float_nodes import REPLACE, run_float
from qcompile.oracle.movers import MOVERS
from qcompile.oracle.operators import OPERATORS, REQUIRED
from qcompile.target import Arrays

Array = npt.NDArray[np.generic]
FLOAT_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def run(model: ir.Model, inputs: Arrays, *, every_value: bool = False) -> dict[str, Array]:
    """Run the graph once.

    Args:
        model: An integer graph, with float islands or without.
        inputs: One array for every graph input.
        every_value: Give out the value of every node, not only the graph outputs.

    Raises:
        CompileError: A node that the oracle does not know (found before anything runs), an
            input that is missing or of another type or shape, an accumulator beyond int32.
    """
    check(model)
    values = _initial_values(model.graph, inputs)
    last_use = _last_uses(model.graph)
    outputs = set(model.graph.outputs)
    answer: dict[str, Array] = {}
    for node in model.graph:
        outer = {str(value.name): values[value] for value in captured(node)}
        arrays = [None if value is None else values[value] for value in node.inputs]
        for value, array in zip(node.outputs, run_node(node, arrays, outer), strict=True):
            values[value] = array
            if every_value and value.name:
                answer[value.name] = array
        for value in last_use[node]:
            if value not in outputs:
                values.pop(value, None)
    return answer | {str(value.name): values[value] for value in model.graph.outputs}


def run_node(
    node: ir.Node, inputs: Sequence[Array | None], outer: Mapping[str, Array] | None = None
) -> list[Array]:
    """Run one node.

    Args:
        node: The node.
        inputs: One array an input of the node; None for an absent one.
        outer: The values that the node's sub-graphs read from outside, by name.
    """
    if node.domain == DOMAIN:
        return [OPERATORS[node.op_type](node, inputs)]
    if node.op_type == "DynamicQuantizeLinear":
        return dynamic_quantize_linear(node, inputs)
    mover = MOVERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    array = mover(node, inputs) if mover is not None else None
    return [array] if array is not None else run_float(node, inputs, outer or {})


def check(model: ir.Model) -> None:
    """Raise CompileError for the first node that the oracle cannot run."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        problem = _why_unknown(node, model)
        if problem is not None:
            where = f"node {node.name or node.outputs[0].name!r}"
            raise CompileError(problem, where=where, hint=REPLACE)


def captured(node: ir.Node) -> list[ir.Value]:
    """Return the values that a node's sub-graphs read from the graph around them."""
    graphs = list(_sub_graphs(node))
    inner: set[ir.Value] = set()
    reads: dict[ir.Value, None] = {}
    for graph in graphs:
        inner.update(graph.inputs, graph.initializers.values())
        inner.update(value for each in graph for value in each.outputs)
        reads.update(dict.fromkeys(graph.outputs))
        reads.update((value, None) for each in graph for value in each.inputs if value)
    return [value for value in reads if value not in inner]


def _sub_graphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        graphs: Sequence[ir.Graph] = ()
        if attribute.type is ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type is ir.AttributeType.GRAPHS:
            graphs = attribute.as_graphs()
        for graph in graphs:
            yield graph
            for each in graph:
                yield from _sub_graphs(each)


def _why_unknown(node: ir.Node, model: ir.Model) -> str | None:
    if node.domain == DOMAIN:
        if node.op_type not in OPERATORS:
            return f"the oracle has no operator {node.op_type} of the domain {DOMAIN}"
        if node.graph is not model.graph:
            return f"{node.op_type} inside a sub-graph: integer operators stand outside"
        missing = [name for name in REQUIRED[node.op_type] if name not in node.attributes]
        return f"{node.op_type} lacks the attribute {missing[0]}" if missing else None
    if node.domain in FLOAT_DOMAINS:
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = model.opset_imports.get(domain, 1)
        if onnx.defs.has(node.op_type, version, domain):
            return None
    domain = f" of the domain {node.domain}" if node.domain else ""
    return f"the oracle has no operator {node.op_type}{domain}"


def _initial_values(graph: ir.Graph, inputs: Arrays) -> dict[ir.Value, Array]:
    values: dict[ir.Value, Array] = {}
    for value in graph.initializers.values():
        if value.const_value is not None:
            values[value] = value.const_value.numpy()
    for value in graph.inputs:
        array = inputs.get(str(value.name))
        if array is not None:
            values[value] = _checked(value, np.asarray(array))
        elif value not in values:
            raise CompileError(
                "no array given",
                where=f"input {value.name!r}",
                hint=f"given: {', '.join(sorted(inputs)) or 'nothing'}",
            )
    return values


def _checked(value: ir.Value, array: Array) -> Array:
    """Return the array if it is what the graph input says."""
    where = f"input {value.name!r}"
    if value.dtype is not None and array.dtype != value.dtype.numpy():
        raise CompileError(f"got {array.dtype}, it takes {value.dtype.numpy()}", where=where)
    if value.shape is not None:
        wanted = [size if isinstance(size, int) else None for size in value.shape]
        fits = len(wanted) == array.ndim and all(
            size in (None, actual) for size, actual in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise CompileError(f"got shape {array.shape}, it takes {wanted}", where=where)
    return array


def _last_uses(graph: ir.Graph) -> dict[ir.Node, list[ir.Value]]:
    """Return which values each node is the last to read (or, unread, to write)."""
    last: dict[ir.Value, ir.Node] = {}
    for node in graph:
        for value in (*node.outputs, *node.inputs, *captured(node)):
            if value is not None:
                last[value] = node
    uses: dict[ir.Node, list[ir.Value]] = {node: [] for node in graph}
    for value, node in last.items():
        uses[node].append(value)
    return uses
