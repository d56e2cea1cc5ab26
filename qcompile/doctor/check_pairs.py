"""Check that quantizations and dequantizations come in pairs, around every operator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import onnx_ir as ir

from qcompile.doctor.finding import Finding, Severity, where
from qcompile.doctor.graph import (
    BORDERS,
    STANDARD,
    WEIGHTED_OPS,
    dequantizer,
    has_quantized_activations,
    nodes,
    stored_source,
)
from qcompile.graphs.qdq import activation, node_grid
from qcompile.regions import constant, find_regions, is_move

INTEGER_OPS = frozenset({"MatMulInteger", "ConvInteger", "Cast"})
"""What reads or gives integers by its nature."""


def check_pairs(graph: ir.Graph) -> Iterator[Finding]:
    """Find a Q or a DQ that is alone, and pairs that say different things."""
    for node in nodes(graph):
        if node.op_type == "QuantizeLinear":
            yield from _quantize(node)
        elif node.op_type == "DequantizeLinear":
            yield from _dequantize(node)


def check_float_sides(graph: ir.Graph) -> Iterator[Finding]:
    """Find products of which one factor is quantized and the other is float."""
    if not has_quantized_activations(graph):
        return
    for node in nodes(graph):
        if node.op_type not in WEIGHTED_OPS or len(node.inputs) < 2:
            continue
        x, w = node.inputs[0], node.inputs[1]
        if activation(x) is not None and constant(w) is not None:
            yield Finding(
                Severity.WARNING,
                "float-weight",
                where(node),
                "its input is quantized and its weight is float, so it is computed in float",
                "quantize the weight as well",
            )
        pair = dequantizer(w)
        quantized = pair is not None and constant(pair.inputs[0]) is not None
        if quantized and dequantizer(x) is None and not _moved(x):
            yield Finding(
                Severity.WARNING,
                "float-activation",
                where(node),
                f"its weight is quantized and its input {_name(x)!r} is float, so it is "
                "computed in float",
                "put a pair of QuantizeLinear and DequantizeLinear before it",
            )


def check_float_edges(graph: ir.Graph) -> Iterator[Finding]:
    """Find steps that read quantized values and hand a float one to the next such step."""
    if not has_quantized_activations(graph):
        return
    regions = find_regions(graph, lambda node: None)
    region_of = {node: region for region in regions for node in region.nodes}
    for region in regions:
        quantized = [activation(value) is not None for value in region.activations]
        readers = [use.node for use in region.output.uses()]
        stepped = any(reader.op_type == "QuantizeLinear" for reader in readers)
        if is_move(region.anchor) or not quantized or not all(quantized) or stepped:
            continue
        for reader in readers:
            next_step = region_of.get(reader)
            # A product says so itself (float-activation); what moves integers may take either.
            if next_step is None or is_move(reader) or reader.op_type in WEIGHTED_OPS:
                continue
            yield Finding(
                Severity.WARNING,
                "missing-pair",
                where(region.anchor),
                f"it reads quantized values and gives {where(reader)} a float one: both "
                "could be computed in integers",
                "put a pair of QuantizeLinear and DequantizeLinear between them",
            )
            break


def _quantize(node: ir.Node) -> Iterator[Finding]:
    output = node.outputs[0]
    users = [use.node for use in output.uses()]
    known = {"DequantizeLinear"} | INTEGER_OPS
    strange = (
        user
        for user in users
        if user.domain in STANDARD and user.op_type not in known and not is_move(user)
    )
    for user in itertools.islice(strange, 1):
        yield Finding(
            Severity.WARNING,
            "lonely-quantize",
            where(node),
            f"its integers go to {where(user)}, not to a DequantizeLinear",
            "put a DequantizeLinear behind it, or take it out",
        )
    grid, source = node_grid(node), activation(node.inputs[0])
    if source is not None and source[1] == grid and not output.is_graph_output():
        yield Finding(
            Severity.INFO,
            "redundant-pair",
            where(node),
            "it quantizes what was dequantized with the same scale just before",
            "take both out",
            fixable=True,
        )
    others = [node_grid(user) for user in users if user.op_type == "DequantizeLinear"]
    for other in others:
        if grid is not None and other is not None and other != grid:
            yield Finding(
                Severity.ERROR,
                "pair-mismatch",
                where(node),
                f"it quantizes with scale {grid.scale:.6g} and zero point "
                f"{grid.zero_point}, and the DequantizeLinear behind it says "
                f"{other.scale:.6g} and {other.zero_point}",
                "give both the same scale and zero point",
            )


def _dequantize(node: ir.Node) -> Iterator[Finding]:
    source = stored_source(node.inputs[0])
    producer = source.producer() if source is not None else None
    if producer is None or producer.domain not in STANDARD:
        return
    known = BORDERS | INTEGER_OPS | {"DynamicQuantizeLinear"}
    if producer.op_type not in known or producer.op_type == "DequantizeLinear":
        yield Finding(
            Severity.WARNING,
            "lonely-dequantize",
            where(node),
            f"its integers come from {where(producer)}, not from a QuantizeLinear",
            "put a QuantizeLinear before it, or take it out",
        )


def _moved(value: ir.Value | None) -> bool:
    """Whether a float value is one that was quantized, through what only moves it."""
    return dequantizer(stored_source(value)) is not None


def _name(value: ir.Value | None) -> str:
    return str(value.name) if value is not None else ""
