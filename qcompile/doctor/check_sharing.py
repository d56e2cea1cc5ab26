"""Check that what only moves integers has one scale on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import nodes
from qcompile.graphs.qdq import Grid, activation, node_grid
from qcompile.numerics import dequantize, quantize
from qcompile.regions import data_inputs, is_move


def check_sharing(graph: ir.Graph) -> Iterator[Finding]:
    """Find movers whose inputs and output differ in scale, zero point or type."""
    for node in nodes(graph):
        differing = differing_grids(node)
        if not differing:
            continue
        y = output_quantizers(node)[0][1]
        listed = ", ".join(f"{grid.scale:.6g} ({grid})" for grid in differing)
        yield Finding(
            Severity.WARNING,
            "shared-scale",
            where(node),
            f"it only moves integers, yet its input has scale {listed} and its output "
            f"{y.scale:.6g} ({y}): a rounding more, and a step more to compute",
            "quantize both with one scale",
            fixable=shared_grid(node) is not None,
        )


def differing_grids(node: ir.Node) -> list[Grid]:
    """Return the input grids of a mover that are not its output's."""
    quantizers = output_quantizers(node)
    if not is_move(node) or not quantizers:
        return []
    y = quantizers[0][1]
    sources = [activation(value) for value in data_inputs(node)]
    return [source[1] for source in sources if source is not None and source[1] != y]


def shared_grid(node: ir.Node) -> Grid | None:
    """Return the grid of all inputs that may stand for the output's as well.

    The inputs have one grid, nothing but a DequantizeLinear reads what is quantized, and
    every integer stays itself: the scales are one, up to rounding.
    """
    differing, quantizers = differing_grids(node), output_quantizers(node)
    inputs = [activation(value) for value in data_inputs(node)]
    grids = {source[1] if source is not None else None for source in inputs}
    users = [user for user, _ in quantizers]
    if not differing or len(grids) != 1 or len(node.outputs[0].uses()) != len(users):
        return None
    values = [user.outputs[0] for user in users]
    read = [use.node.op_type for value in values for use in value.uses()]
    if set(read) != {"DequantizeLinear"} or any(value.is_graph_output() for value in values):
        return None
    same = all(same_integers(differing[0], grid) for _, grid in quantizers)
    return differing[0] if same else None


def output_quantizers(node: ir.Node) -> list[tuple[ir.Node, Grid]]:
    """Return the QuantizeLinear nodes of a node's output, with their grids."""
    users = dict.fromkeys(use.node for use in node.outputs[0].uses())
    pairs = [(user, node_grid(user)) for user in users if user.op_type == "QuantizeLinear"]
    return [(user, grid) for user, grid in pairs if grid is not None]


def same_integers(first: Grid, second: Grid) -> bool:
    """Whether quantizing on the second grid gives back every integer of the first."""
    if first.dtype != second.dtype:
        return False
    low, high = first.bounds
    every = np.arange(low, high + 1).astype(first.dtype.numpy())
    real = dequantize(every, first.scale, first.zero_point)
    again = quantize(real, second.scale, second.zero_point, second.dtype)
    return bool(np.array_equal(again, every))
