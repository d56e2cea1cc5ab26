"""Let operators that only move data move integers: DQ sinks below them, Q rises above."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from qcompile.config import CompileConfig
from qcompile.graphs.qdq import Grid, accepts, activation, node_grid, real_constant
from qcompile.graphs.rewriting import Names, take_over, take_over_all
from qcompile.numerics import dequantize, quantize
from qcompile.regions import constant, data_inputs, data_uses, is_constant, is_move
from qcompile.target import Target


@dataclasses.dataclass(frozen=True)
class PropagateQdq(ir.passes.InPlacePass):
    """Exchange a mover with the DequantizeLinear before it or the QuantizeLinear behind it.

    move(DQ(x)) = DQ(move(x))     Q(move(x)) = move(Q(x))

    Both are exact: a mover copies numbers or picks the largest, and Q never falls.
    Kept: a mover whose inputs differ in scale (nothing sinks), whose result is also wanted
    in float or on two scales (nothing rises), or that the target or the config keeps float;
    and sub-graphs, each of which is one float island with the node that holds it.

    Example:
        before:
            g (uint8[2,3] x) => (float[3,2] y) <float s = {0.5}, uint8 z = {0}>
            { d = DequantizeLinear (x, s, z)  t = Transpose (d)  y = Relu (t) }
        after:
            g (uint8[2,3] x) => (float[3,2] y) <float s = {0.5}, uint8 z = {0}>
            { t = Transpose (x)  d = DequantizeLinear (t, s, z)  y = Relu (d) }
    """

    target: Target
    config: CompileConfig = dataclasses.field(default_factory=CompileConfig)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any pair of nodes was exchanged."""
        names = Names(model)
        modified = False
        for node in model.graph:
            modified |= self._sink(node, names)
        for node in reversed(model.graph):
            modified |= self._rise(node, names)
        return ir.passes.PassResult(model, modified)

    def _takes(self, node: ir.Node, grid: Grid) -> bool:
        row = self.target.row(node.op_type)
        if not is_move(node) or row is None:
            return False
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            return False
        padding = _padding(node)
        if padding is not None and math.isnan(padding):
            return False
        reason = self.target.why_float(node) or self.config.reason(node)
        return reason is None and accepts(row, grid)

    def _sink(self, node: ir.Node, names: Names) -> bool:
        sources = [activation(value) for value in data_inputs(node)]
        first = sources[0] if sources else None
        if first is None or node.graph is None or all(map(is_constant, node.inputs)):
            return False
        grid = first[1]
        if not self._takes(node, grid) or not _padding_is_exact(node, grid):
            return False
        if any(source is None or source[1] != grid for source in sources):
            return False
        integers = [source[0] for source in sources if source is not None]
        _move_integers(node, integers, grid, names)
        output = node.outputs[0]
        name = names.unique(f"{output.name}_q")
        restore = names.dequantize(node.graph, output, grid)
        restore.replace_input_with(0, None)
        take_over(output, restore.outputs[0])
        output.name = name
        restore.replace_input_with(0, output)
        node.graph.insert_after(node, restore)
        return True

    def _rise(self, node: ir.Node, names: Names) -> bool:
        mover = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
        grid = node_grid(node) if node.op_type == "QuantizeLinear" else None
        if mover is None or grid is None or not self._takes(mover, grid):
            return False
        moved, graph = mover.outputs[0], mover.graph
        users = [use.node for use in moved.uses()]
        if moved.is_graph_output() or graph is None:
            return False
        if any(node_grid(user) != grid or user.graph is not graph for user in users):
            return False
        leaving = [user for user in users if user.outputs[0].is_graph_output()]
        if len(leaving) > 1 or any(user.op_type != "QuantizeLinear" for user in users):
            return False
        sources = {
            value: _quantized(mover, value, grid, names) for value in data_inputs(mover)
        }
        _move_integers(mover, [sources[value] for value in data_inputs(mover)], grid, names)
        take_over_all([user.outputs[0] for user in users], moved)
        graph.remove(users, safe=True)
        return True


def _move_integers(mover: ir.Node, integers: list[ir.Value], grid: Grid, names: Names) -> None:
    """Give the mover integer inputs and an integer output."""
    for (index, _), value in zip(data_uses(mover), integers, strict=True):
        mover.replace_input_with(index, value)
    padding = _padding(mover)
    if padding is not None and mover.graph is not None:
        filler = quantize(
            np.asarray(padding, np.float32), grid.scale, grid.zero_point, grid.dtype
        )
        value = names.initializer(mover.graph, f"{mover.outputs[0].name}_filler", filler)
        if len(mover.inputs) < 3:
            mover.resize_inputs(3)
        mover.replace_input_with(2, value)
    grid.describe(mover.outputs[0])


def _quantized(mover: ir.Node, value: ir.Value, grid: Grid, names: Names) -> ir.Value:
    """Return the integers of a float input: a constant, or a new QuantizeLinear's output."""
    assert mover.graph is not None
    real = real_constant(value)
    if real is not None:
        array = quantize(real, grid.scale, grid.zero_point, grid.dtype)
        return names.initializer(mover.graph, f"{value.name}_q", array)
    node = names.quantize(mover.graph, value, grid)
    mover.graph.insert_before(mover, node)
    return node.outputs[0]


def _padding(node: ir.Node) -> float | None:
    """Return what number a Pad fills in, NaN if it is computed; None for other nodes."""
    if node.op_type != "Pad" or node.attributes.get_string("mode", "constant") != "constant":
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return 0.0
    array = constant(value)
    return math.nan if array is None else float(array.reshape(()))


def _padding_is_exact(node: ir.Node, grid: Grid) -> bool:
    padding = _padding(node)
    if padding is None:
        return True
    filler = quantize(np.asarray(padding, np.float32), grid.scale, grid.zero_point, grid.dtype)
    return bool(dequantize(filler, grid.scale, grid.zero_point) == np.float32(padding))
