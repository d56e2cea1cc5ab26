"""Write the scale and zero point of every activation onto the values of an integer graph."""

from __future__ import annotations

import onnx_ir as ir

from qcompile.graphs.qdq import BYTES, Grid, node_grid
from qcompile.ops import SCALE, ZERO_POINT
from qcompile.regions import constant, data_inputs, is_move


def describe_activations(graph: ir.Graph) -> bool:
    """Describe what Q and DQ nodes say, and carry it through movers; return whether new."""
    new = False
    for node in graph:
        grid = node_grid(node)
        if grid is not None:
            value = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
            if value is not None and constant(value) is None:
                new |= _describe(value, grid)
        if is_move(node):
            for value in data_inputs(node):
                new |= _carry(value, node.outputs[0])
    for node in reversed(graph):
        if is_move(node):
            for value in data_inputs(node):
                new |= _carry(node.outputs[0], value)
    return new


def stored_grid(value: ir.Value) -> Grid | None:
    """Return the grid that is written onto a value, if one is."""
    scale, zero_point = (value.metadata_props.get(key) for key in (SCALE, ZERO_POINT))
    if scale is None or zero_point is None or value.dtype not in BYTES:
        return None
    return Grid(float(scale), int(zero_point), value.dtype)


def _carry(known: ir.Value | None, value: ir.Value | None) -> bool:
    grid = stored_grid(known) if known is not None else None
    if grid is None or value is None or constant(value) is not None:
        return False
    return _describe(value, grid)


def _describe(value: ir.Value, grid: Grid) -> bool:
    if stored_grid(value) is not None:
        return False
    grid.describe(value)
    return True
