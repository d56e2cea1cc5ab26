"""Give every activation the 8-bit type that the target's kernels take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.config import CompileConfig
from qcompile.graphs.qdq import BYTES, Grid, accepts, activation, node_grid
from qcompile.graphs.rewriting import Names
from qcompile.regions import constant, data_inputs, find_regions, is_move
from qcompile.target import OpSupport, Target

Rows = dict[ir.Value, list[OpSupport]]
"""The rows of the operators that read or write the integers of an activation."""

Group = tuple[ir.Value, ...]
"""Integer values that movers connect, so that they must have one type."""


@dataclasses.dataclass(frozen=True)
class RetargetActivations(ir.passes.InPlacePass):
    """Change int8 activations into uint8 or back, as the rows of their operators ask.

    DQ(Q(x, s, z)) = DQ'(Q'(x, s, z + 128)): the same real numbers, one by one.

    Integers that enter or leave the graph keep their type: there a pair of the other type is
    put between them and the operator. Kept: what its operators take as it is, or what no one
    type would suit.

    Example:
        before:
            g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {-3}>
            { q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  y = Relu (d) }
        after:
            g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {125}>
            { q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  y = Relu (d) }
    """

    target: Target
    config: CompileConfig = dataclasses.field(default_factory=CompileConfig)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any activation changed its type."""
        names = Names(model)
        modified = False
        rows = self._rows(model.graph)
        for group in integer_groups(model.graph):
            wanted = [row for value in group for row in rows.get(value, ())]
            grids = [grid for value in group for grid in group_grids(value)]
            if not wanted or not grids or suited(wanted, grids):
                continue
            if not suited(wanted, [grid.retyped() for grid in grids]):
                continue
            if all(is_free(value) for value in group):
                for value in group:
                    _retype(value, names)
            else:
                _put_between(group, rows, names)
            modified = True
        return ir.passes.PassResult(model, modified)

    def _rows(self, graph: ir.Graph) -> Rows:
        rows: Rows = {}

        def keep_float(node: ir.Node) -> str | None:
            return self.target.why_float(node) or self.config.reason(node)

        for region in find_regions(graph, keep_float):
            row = self.target.row(region.anchor.op_type)
            sources = [activation(value) for value in region.activations]
            integers = [source[0] for source in sources if source is not None]
            users = [use.node for use in region.output.uses()]
            integers += [user.outputs[0] for user in users if user.op_type == "QuantizeLinear"]
            for value in integers:
                if row is not None:
                    rows.setdefault(value, []).append(row)
        return rows


def suited(rows: list[OpSupport], grids: list[Grid]) -> bool:
    """Whether every kernel takes every one of these grids."""
    return all(accepts(row, grid) for row in rows for grid in grids)


def integer_groups(graph: ir.Graph) -> list[Group]:
    """Return the 8-bit activations of the graph, those that movers connect together."""
    groups: dict[ir.Value, list[ir.Value]] = {}

    def join(values: list[ir.Value]) -> None:
        merged: list[ir.Value] = []
        for value in values:
            group = groups.get(value, [value])
            merged += [each for each in group if each not in merged]
        for value in merged:
            groups[value] = merged

    for node in graph:
        if is_move(node):
            join(activations((*data_inputs(node), node.outputs[0])))
        elif node_grid(node) is not None:
            for value in activations((node.inputs[0], node.outputs[0])):
                join([value])
    unique = {id(group): tuple(group) for group in groups.values()}
    return list(unique.values())


def activations(values: Iterable[ir.Value | None]) -> list[ir.Value]:
    """Return those of the values that are 8-bit integers and no constants."""
    return [
        value
        for value in values
        if value is not None and value.dtype in BYTES and constant(value) is None
    ]


def group_grids(value: ir.Value) -> list[Grid]:
    """Return the grids that the Q and DQ nodes around an integer value give it."""
    around = [value.producer(), *(use.node for use in value.uses())]
    nodes = [node for node in around if node is not None and _is_qdq_of(node, value)]
    return [grid for grid in map(node_grid, nodes) if grid is not None]


def is_free(value: ir.Value) -> bool:
    """Whether only Q, DQ and movers of this graph see an integer value."""
    producer = value.producer()
    if producer is None or value.is_graph_output():
        return False
    around = [producer, *(use.node for use in value.uses())]
    return all(
        node.graph is producer.graph
        and (is_move(node) or (_is_qdq_of(node, value) and node_grid(node) is not None))
        for node in around
    )


def _is_qdq_of(node: ir.Node, value: ir.Value) -> bool:
    if node.op_type == "QuantizeLinear":
        return node.outputs[0] is value
    return node.op_type == "DequantizeLinear" and node.inputs[0] is value


def _retype(value: ir.Value, names: Names) -> None:
    """Move an integer value, and what the nodes around it say of it, to the other type."""
    producer = value.producer()
    assert producer is not None
    for node in (producer, *(use.node for use in value.uses())):
        grid, scale = (
            node_grid(node),
            constant(node.inputs[1]) if len(node.inputs) > 1 else None,
        )
        if not _is_qdq_of(node, value) or grid is None or scale is None:
            continue
        other = grid.retyped()
        zero_point = np.full(scale.shape, other.zero_point, other.dtype.numpy())
        _set_input(node, 2, f"{value.name}_zero_point", zero_point, names)
        node.attributes.pop("output_dtype", None)
    assert value.dtype is not None
    shift = 128 if value.dtype == ir.DataType.INT8 else -128
    dtype = ir.DataType.UINT8 if shift > 0 else ir.DataType.INT8
    value.type = ir.TensorType(dtype)  # a new one: a cloned value shares the old
    if (
        producer.op_type == "Pad"
        and producer.attributes.get_string("mode", "constant") == "constant"
    ):
        given = constant(producer.inputs[2]) if len(producer.inputs) > 2 else None
        filler = (0 if given is None else int(given.reshape(()))) + shift
        array = np.asarray(filler, value.dtype.numpy())
        _set_input(producer, 2, f"{value.name}_filler", array, names)


def _set_input(
    node: ir.Node, index: int, name: str, array: npt.NDArray[np.generic], names: Names
) -> None:
    assert node.graph is not None
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, names.initializer(node.graph, name, array))


def _put_between(group: Group, rows: Rows, names: Names) -> None:
    """Put a pair of the other type between fixed integers and the operators around them."""
    for value in group:
        if value not in rows:
            continue
        for node in (value.producer(), *(use.node for use in value.uses())):
            if node is None or not _is_qdq_of(node, value):
                continue
            if node.op_type == "DequantizeLinear":
                _pair(node, node.outputs[0], names)
            elif node.inputs[0] is not None and node.inputs[0].producer() is not None:
                _pair(node, node.inputs[0], names)


def _pair(node: ir.Node, real: ir.Value, names: Names) -> None:
    """Send `real`, which this Q reads or this DQ gives, through the other type."""
    grid, graph = node_grid(node), node.graph
    if grid is None or graph is None:
        return
    if node.op_type == "QuantizeLinear":
        uses = [(node, 0)]
    else:
        uses = [(use.node, use.idx) for use in real.uses()]
    quantized = names.quantize(graph, real, grid.retyped())
    restored = names.dequantize(graph, quantized.outputs[0], grid.retyped())
    if node.op_type == "QuantizeLinear":
        graph.insert_before(node, (quantized, restored))
    else:
        graph.insert_after(node, (quantized, restored))
    for user, index in uses:
        user.replace_input_with(index, restored.outputs[0])
