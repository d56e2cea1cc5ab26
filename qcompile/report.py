"""What a compile did, in figures: operators, multiply-accumulates, and what stayed float."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import onnx_ir as ir

from qcompile import ops

BORDERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
PRODUCTS = frozenset(
    {
        "MatMul",
        "MatMulInteger",
        "Gemm",
        ops.QMATMUL,
        ops.QBATCHMATMUL,
        ops.QDYNAMICMATMUL,
        ops.QDYNAMICBATCHMATMUL,
    }
)
SMALL_INTEGERS = frozenset({ir.DataType.INT8, ir.DataType.UINT8})


class OpCounts(TypedDict):
    """Nodes of the integer graph, without the borders between integers and floats."""

    total: int
    integer: int
    float: int


class MacCounts(TypedDict):
    """Multiply-accumulates of one run."""

    total: int
    integer: int


class FloatIsland(TypedDict):
    """Float nodes that hang together, and why they are float."""

    nodes: list[str]
    operators: list[str]
    reason: str


class RecipeReport(TypedDict):
    """What was chosen, why, and the SQNR in decibels of each candidate that was tried."""

    name: str
    reason: str
    sqnr_db: dict[str, float]


class CompileReport(TypedDict):
    """What `compile --json` prints, without the artifact's path."""

    target: str
    recipe: RecipeReport
    ops: OpCounts
    macs: MacCounts
    float_islands: list[FloatIsland]
    size_bytes: int
    seconds: dict[str, float]
    warnings: list[str]


def compile_report(
    target: str,
    recipe: RecipeReport,
    graph: ir.Graph,
    size_bytes: int,
    seconds: Mapping[str, float],
    warnings: Sequence[str] = (),
) -> CompileReport:
    """Return the figures of one compiled integer graph."""
    inner = [node for node in graph if not is_border(node)]
    floats = [node for node in inner if is_float(node)]
    macs = {node: count_macs(node) for node in inner}
    return {
        "target": target,
        "recipe": recipe,
        "ops": {
            "total": len(inner),
            "integer": len(inner) - len(floats),
            "float": len(floats),
        },
        "macs": {
            "total": sum(macs.values()),
            "integer": sum(macs.values()) - sum(macs[node] for node in floats),
        },
        "float_islands": float_islands(floats),
        "size_bytes": size_bytes,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "warnings": list(warnings),
    }


def is_border(node: ir.Node) -> bool:
    """Whether a node is a standard QuantizeLinear or DequantizeLinear."""
    return node.op_type in BORDERS and node.domain != ops.DOMAIN


def is_float(node: ir.Node) -> bool:
    """Whether a node computes in float: it is neither ours nor a border nor a mover."""
    if node.domain == ops.DOMAIN or is_border(node):
        return False
    return not (node.inputs and node.inputs[0] and node.inputs[0].dtype in SMALL_INTEGERS)


def float_islands(floats: Iterable[ir.Node]) -> list[FloatIsland]:
    """Return the connected components of the float nodes, in the graph's order."""
    order = {node: position for position, node in enumerate(floats)}
    island_of: dict[ir.Node, list[ir.Node]] = {}
    for node in order:
        merged = [node]
        for neighbour in node.predecessors():
            if neighbour in island_of and island_of[neighbour] is not merged:
                merged = island_of[neighbour] + merged
                for member in merged:
                    island_of[member] = merged
        island_of[node] = merged
    islands = {id(members): members for members in island_of.values()}.values()
    ordered = [sorted(members, key=order.__getitem__) for members in islands]
    return [describe_island(members) for members in ordered]


def describe_island(members: list[ir.Node]) -> FloatIsland:
    """Return the names, operators and distinct reasons of one island."""
    reasons = [node.metadata_props.get(ops.FLOAT_REASON) for node in members]
    stated = dict.fromkeys(reason for reason in reasons if reason)
    return {
        "nodes": [node_name(node) for node in members],
        "operators": list(dict.fromkeys(node.op_type for node in members)),
        "reason": "; ".join(stated) or "it computes between float operators",
    }


def node_name(node: ir.Node) -> str:
    """Return the node's name, or that of its first output where it has none."""
    return str(node.name or node.outputs[0].name)


def count_macs(node: ir.Node) -> int:
    """Return the multiply-accumulates of a convolution or matrix product; 0 for the rest."""
    if node.op_type in ("Conv", ops.QCONV):
        return math.prod(sizes(node.outputs[0])) * math.prod(sizes(node.inputs[1])[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(sizes(node.inputs[0])) * math.prod(sizes(node.inputs[1])[1:])
    if node.op_type in PRODUCTS:
        shape = sizes(node.inputs[0])
        transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0))
        return math.prod(sizes(node.outputs[0])) * shape[0 if transposed else -1]
    return 0


def sizes(value: ir.Value | None) -> tuple[int, ...]:
    """Return the static shape of a value."""
    assert value is not None
    assert value.shape is not None, value.name
    return tuple(int(size) for size in value.shape.numpy())


def json_text(report: object) -> str:
    """Return one JSON object; a figure that is not finite becomes null (JSON has no inf)."""
    return json.dumps(_finite(report), indent=2, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
